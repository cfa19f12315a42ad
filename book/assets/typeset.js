// Formulas are drawn a few at a time, so that a long chapter can be scrolled and used meanwhile.
window.MathJax = {
  ...window.MathJax,
  startup: {
    async pageReady() {
      // The full stop behind a formula does not begin a line.
      for (const formula of document.querySelectorAll("span.math")) {
        const after = formula.nextSibling;
        const mark = after?.nodeType === Node.TEXT_NODE && after.data.match(/^[.,;:?!)\]’”]+/);
        if (!mark) continue;
        const pair = document.createElement("span");
        pair.className = "math-with-mark";
        after.data = after.data.slice(mark[0].length);
        formula.replaceWith(pair);
        pair.append(formula, mark[0]);
      }
      const formulas = [...document.querySelectorAll(".math")];
      for (let i = 0; i < formulas.length; i += 16) {
        await MathJax.typesetPromise(formulas.slice(i, i + 16));
        await new Promise((done) => setTimeout(done));
      }
    },
  },
};
