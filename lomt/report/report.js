"use strict";
// A touch has no hover: show the tooltip of what was touched, and hide it at the next touch.
(() => {
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return;
    const holder = event.target.closest("svg g, svg circle");
    const title = holder && holder.querySelector(":scope > title");
    if (!title) return hide();
    tip.textContent = title.textContent;
    tip.hidden = false;
    const half = tip.offsetWidth / 2;
    const left = Math.min(Math.max(event.clientX, half + 8), document.documentElement.clientWidth - half - 8);
    tip.style.left = `${left - half}px`;
    tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 18)}px`;
  });
  document.addEventListener("scroll", hide, { passive: true });
})();
