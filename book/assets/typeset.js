// Formulas are drawn a few at a time, so that a long chapter can be scrolled and used meanwhile.
window.MathJax = {
  ...window.MathJax,
  startup: {
    async pageReady() {
      const formulas = [...document.querySelectorAll(".math")];
      for (let i = 0; i < formulas.length; i += 16) {
        await MathJax.typesetPromise(formulas.slice(i, i + 16));
        await new Promise((done) => setTimeout(done));
      }
    },
  },
};
