// In the shell itself, as all else may fail to arrive: a network that changes (a cable, Wi-Fi, a container that starts)
// ends a browser's requests, and a document asks for each of its parts once only.
{
  const MOST = 6; // times that are tried
  const NOTE = "rpdrive loads"; // how often this tab has loaded the page; app.js removes it
  const pause = (/** @type {number} */ tries) => 250 * 2 ** tries; // ms
  addEventListener("error", ({target}) => {
    if (target instanceof HTMLLinkElement && target.relList.contains("stylesheet")) {
      const tries = Number(target.dataset.tries ?? 0);
      const next = /** @type {HTMLElement} */ (target.cloneNode());
      next.dataset.tries = `${tries + 1}`;
      if (tries < MOST) setTimeout(() => target.replaceWith(next), pause(tries));
    }
    if (!(target instanceof HTMLScriptElement)) return;
    let tries = MOST; // without a memory it would load for ever
    try {
      tries = Number(sessionStorage.getItem(NOTE) ?? 0);
      sessionStorage.setItem(NOTE, `${tries + 1}`);
    } catch {
      tries = MOST; // it may be read, and not written to
    }
    if (tries < MOST) setTimeout(() => location.reload(), pause(tries));
    else {
      try {
        sessionStorage.removeItem(NOTE);
      } catch {}
      const told = document.querySelector(".starting");
      if (told) told.textContent = "A part of this page does not arrive. Reload it; if that does not help, start rpdrive browse again.";
    }
  }, true);
}
