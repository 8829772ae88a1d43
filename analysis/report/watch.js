// The page loads itself anew when the server has another version; open folds and the scroll position stay.
const KEPT = "rrm-analyze-watch";
history.scrollRestoration = "manual";

window.addEventListener("load", () => {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (!kept) return;
  document.querySelectorAll("details").forEach((fold) => { fold.open = kept.open.includes(fold.id); });
  window.scrollTo(0, kept.top);
});

setInterval(async () => {
  try {
    const answer = await fetch("/version");
    if (!answer.ok || (await answer.text()) === "VERSION") return;
  } catch {
    return;  // the server has ended
  }
  const open = [...document.querySelectorAll("details[open]")].map((fold) => fold.id);
  sessionStorage.setItem(KEPT, JSON.stringify({ open, top: window.scrollY }));
  location.reload();
}, 1000);
