// What the console does beyond its pages, all of which work without it: live queue, keys, line numbers, theme.
// No text of an agent's ever passes through here but as markup that the server escaped.

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const page = document.body.dataset;

// --- theme

const toggle = $("[data-theme-toggle]");
const root = document.documentElement;
const isDark = () =>
  root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const nameTheme = () => {
  toggle.textContent = isDark() ? "Light" : "Dark";
};
if (toggle) {
  toggle.hidden = false;
  nameTheme();
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("airlock-theme", root.dataset.theme);
    } catch {
      // it holds until the next page
    }
    nameTheme();
  });
}

// --- a page that goes on by itself

const onward = $("a[data-go-at-once]");
if (onward) location.replace(onward.href);

// --- live

async function refresh(target, address) {
  const answer = await fetch(address, { credentials: "same-origin", redirect: "error" });
  if (!answer.ok) return;
  const fresh = await answer.text();
  const hrefOf = (element) => element?.closest?.("a")?.getAttribute("href");
  const focused = target.contains(document.activeElement) ? hrefOf(document.activeElement) : null;
  const chosen = hrefOf($("tr.chosen a[data-open]", target));
  target.innerHTML = fresh;
  const find = (href) => $$("a", target).find((a) => a.getAttribute("href") === href);
  if (chosen) find(chosen)?.closest("tr").classList.add("chosen");
  if (focused) find(focused)?.focus();
}

function withParameter(name) {
  const address = new URL(location.href);
  address.searchParams.set(name, "1");
  return address;
}

if ("live" in page) {
  let known = page.known ?? null;
  const address = new URL("live", new URL(page.page === "review" ? "../" : "./", location.href));
  if (page.review) address.searchParams.set("review", page.review);
  const dot = $("[data-live-dot]");
  const tell = (on) => {
    if (!dot) return;
    dot.classList.toggle("on", on);
    dot.title = on ? "live" : "not live";
  };
  const heardOfQueue = (event) => {
    const queue = JSON.parse(event.data);
    const count = $("[data-open-count]");
    count.hidden = false;
    count.textContent = queue.open;
    const words = $("[data-open-words]");
    if (words) words.textContent = queue.open.toLocaleString("en");
    const now = `${queue.open} ${queue.newest}`;
    if (page.page === "queue" && now !== known) {
      document.title = `(${queue.open}) Queue · Airlock`;
      refresh($("#rows"), withParameter("rows")).catch(() => {});
    }
    known = now;
  };
  const heardOfReview = (event) => {
    if (JSON.parse(event.data).version === page.version) return;
    // what is decided goes on by itself to what came of it; what is open may hold words that somebody types
    if (page.version.startsWith("open.")) $("[data-changed]").hidden = false;
    else location.reload();
  };
  // a browser has six connections to a gateway: only the tab that somebody looks at keeps one
  let events = null;
  const listen = () => {
    events?.close();
    events = document.hidden ? null : new EventSource(address);
    if (!events) return;
    events.addEventListener("open", () => tell(true));
    events.addEventListener("error", () => tell(false));
    events.addEventListener("queue", heardOfQueue);
    events.addEventListener("review", heardOfReview);
  };
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => events?.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) listen();
  });
  listen();
}

if (page.page === "overview") {
  const again = () => {
    if (!document.hidden) refresh($("#now"), withParameter("now")).catch(() => {});
  };
  setInterval(again, 5000);
}

// --- editors

for (const editor of $$("[data-editor]")) {
  const area = $("textarea", editor);
  const gutter = $(".gutter", editor);
  let lines = 0;
  const number = () => {
    const now = area.value.split("\n").length;
    if (now === lines) return;
    lines = now;
    gutter.textContent = Array.from({ length: Math.min(now, 20000) }, (_, index) => index + 1).join("\n");
  };
  const follow = () => {
    gutter.scrollTop = area.scrollTop;
  };
  area.addEventListener("input", number);
  area.addEventListener("scroll", follow);
  area.closest("details")?.addEventListener("toggle", number);
  number();
}

// --- keys

const rows = () => $$("[data-row]").filter((row) => $("a[data-open]", row));

function choose(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("chosen"));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  all[at]?.classList.remove("chosen");
  next.classList.add("chosen");
  $("a[data-open]", next).focus();
}

function openVerdict(name, selector) {
  const verdict = $(`[data-verdict="${name}"]`);
  if (!verdict) return;
  verdict.open = true;
  const target = $(selector, verdict);
  target.scrollIntoView({ block: "center" });
  target.focus();
  if (target.id === "code") target.setSelectionRange(0, 0);
}

const keys = {
  j: () => choose(1),
  k: () => choose(-1),
  a: () => openVerdict("approve", "button.primary"),
  e: () => openVerdict("approve_edited", "textarea"),
  r: () => openVerdict("reject", "textarea"),
  q: () => location.assign("/console/queue"),
  "?": () => location.assign("/console/help"),
};

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key === "Escape" && typing) {
    typing.blur();
    return;
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing?.form) {
    event.preventDefault();
    typing.form.requestSubmit();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = keys[event.key];
  if (!act) return;
  if ("aer".includes(event.key) && page.page !== "review") return;
  event.preventDefault();
  act();
});

for (const form of $$("form[method=post]")) {
  form.addEventListener("submit", () => {
    // a second press must not send twice; the button that was pressed is part of what is sent, so it is left alone
    if (form.dataset.sent) return;
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
}
