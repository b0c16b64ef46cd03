// Marks tables, formulas, figures and code that are wider than their place, so that they say that they scroll.
function markScrolling() {
  const wide = ".pst-scrollable-table-container, mjx-container[display=true], div.cell_output, div.highlight pre";
  for (const box of document.querySelectorAll(wide)) {
    box.classList.toggle("scrolls", box.scrollWidth > box.clientWidth + 2);
  }
}
addEventListener("load", () => {
  markScrolling();
  window.MathJax?.startup?.promise?.then(markScrolling);
});
addEventListener("resize", markScrolling);
addEventListener("toggle", markScrolling, true); // code that was hidden
