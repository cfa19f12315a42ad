// Closing a sidebar of a narrow screen brings the focus back to the button that opened it.
document.addEventListener("close", ({ target }) => {
  const [, which] = target.id.match(/^pst-(primary|secondary)-sidebar-modal$/) || [];
  if (which) setTimeout(() => document.querySelector(`.${which}-toggle`)?.focus());
}, true);
