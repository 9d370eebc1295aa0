// Refreshes the page of vessels, but not while somebody fills in the filter, and says so when the board is out of reach.
"use strict";
(() => {
  const fresh = document.getElementById("fresh");
  const stale = document.getElementById("stale");
  if (!fresh || !stale) return;
  const period_ms = 1000 * Number(fresh.dataset.refreshS);
  const isBusy = () => document.activeElement !== null && document.activeElement.matches("input, select, textarea");
  const refresh = async () => {
    if (isBusy()) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "follow" });
      if (!answer.ok) throw new Error(String(answer.status));
      location.reload();
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(refresh, period_ms);
})();
