// A look at what a link in the text leads to, on hover and on keyboard focus; Escape closes it.
(() => {
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href);
  const load = (name) => new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { onload: done, onerror: failed });
    script.src = new URL(`_static/${name}`, root);
    document.head.append(script);
  });
  let previews, mathjax, tip, link = null, timer;

  const key = (a) => decodeURI(a.href.split("?")[0]).replace(decodeURI(root.href), "");

  async function draw(formulas) {
    if (!document.querySelector("script[src*='mathjax']")) {  // a page without formulas of its own
      mathjax = load("mathjax/tex-mml-chtml.js");
    }
    await mathjax;
    await window.MathJax.startup.promise;
    await MathJax.typesetPromise?.(formulas);
  }

  async function show(wanted) {
    await (previews ||= load("previews-data.js"));
    const html = window.mdmPreviews[key(wanted)];
    if (!html || wanted !== link) return;
    if (!tip) {
      tip = Object.assign(document.createElement("div"), { id: "preview", role: "tooltip" });
      tip.addEventListener("pointerenter", () => clearTimeout(timer));
      tip.addEventListener("pointerleave", () => tip.hidden || leave());
      document.body.append(tip);
    }
    tip.innerHTML = html.replaceAll('src="@/', `src="${root.href}`);
    tip.hidden = false;
    wanted.setAttribute("aria-describedby", "preview");
    place();
    const formulas = [...tip.querySelectorAll(".math")];
    if (formulas.length) await draw(formulas);
    place();
  }

  function place() {
    if (!link || tip.hidden) return;
    const at = link.getBoundingClientRect(), { offsetWidth: wide, offsetHeight: high } = tip;
    const below = at.bottom + high + 8 < innerHeight || at.top < high + 8;
    tip.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - wide - 8)) + scrollX}px`;
    tip.style.top = `${(below ? at.bottom + 4 : at.top - high - 4) + scrollY}px`;
  }

  function hide() {
    clearTimeout(timer);
    if (tip) tip.hidden = true;
    link?.removeAttribute("aria-describedby");
    link = null;
  }

  function soon(wanted, wait) {
    clearTimeout(timer);
    if (wanted === link) return;
    timer = setTimeout(() => { hide(); link = wanted; show(wanted); }, wait);
  }
  const leave = () => { clearTimeout(timer); timer = setTimeout(hide, 300); };
  const linkOf = (event) => event.target.closest?.("article a.reference.internal[href*='#']");

  document.addEventListener("pointerover", (event) => {
    const wanted = event.pointerType === "mouse" && linkOf(event);
    if (wanted) soon(wanted, 250);
  });
  document.addEventListener("pointerout", (event) => { if (linkOf(event)) leave(); });
  document.addEventListener("focusin", (event) => {
    const wanted = linkOf(event);
    if (wanted?.matches(":focus-visible")) soon(wanted, 0);
  });
  document.addEventListener("focusout", (event) => { if (linkOf(event)) hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
