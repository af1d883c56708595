// What Weir's pages do beyond links and forms: keys, clocks that count down, news of holds, replay.
// Everything works without it, but for terminals.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]");

  // On a narrow page the tabs scroll; the one that is open is in view.
  const tab = one("nav a[aria-current]");
  if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - 40;

  // ---- clocks: the server says how much is left, so that a wrong clock here changes nothing
  const started = new WeakMap();
  const span = (ms) => {
    const s = Math.floor(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60);
    if (s < 60) return `${s} s`;
    if (m < 60) return s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
    return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  };
  const count = () => {
    for (const time of all("time[data-left]")) {
      if (!started.has(time)) started.set(time, performance.now());
      const left = Math.max(0, Number(time.dataset.left) - (performance.now() - started.get(time)));
      time.textContent = left ? span(left) : "now";
      time.classList.toggle("urgent", left < 60000);
    }
  };
  count();
  setInterval(count, 1000);

  // ---- holds: told when something changed; htmx fetches what is new
  const live = one("[data-live]");
  if (live && window.EventSource) {
    const news = new EventSource(live.dataset.live);
    const changed = () => all("#list, #state").forEach((part) => htmx.trigger(part, "changed"));
    // What changed since the page was made, or while there was no connection, was told to nobody.
    news.onopen = news.onmessage = changed;
    window.addEventListener("pagehide", () => news.close());
  }
  // The item that the keys have chosen, which news leaves alone; htmx keeps the focus, by the same id.
  let chosen = "";
  document.addEventListener("htmx:afterSwap", () => {
    count();
    const again = chosen && document.getElementById(chosen);
    if (again) again.closest("[data-item]").classList.add("at");
    const waiting = one("#waiting");
    if (waiting) {
      const number = Number(waiting.dataset.count);
      document.title = (number ? `(${number}) ` : "") + document.title.replace(/^\(\d+\) /, "");
    }
    const mark = one("#mark"), decisions = one("#decisions");
    if (mark && decisions) decisions.hidden = mark.dataset.may !== "true";
  });
  // One click decides, and no more than one.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));

  // ---- keys
  for (const button of all("[data-opens]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal());
  }
  const items = () => all("[data-item]").filter((item) => item.offsetParent);
  let last = "";
  const go = (step) => {
    const list = items();
    if (!list.length) return;
    const at = list.findIndex((item) => item.classList.contains("at") || item.contains(document.activeElement));
    const next = list[Math.min(list.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : list.length - 1) : at + step))];
    all(".at[data-item]").forEach((item) => item.classList.remove("at"));
    next.classList.add("at");
    const link = one("a", next) || next;
    chosen = link.id;
    link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  const pages = { h: "/ui/holds", s: "/ui/sessions", f: "/ui/search", o: "/ui/overview" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dialog = one("dialog[open]");
    if (event.key === "Escape" && typing(event.target)) return event.target.blur();
    if (dialog || typing(event.target)) return;
    const was = last;
    last = event.key;
    const focus = (selector) => {
      const target = one(selector);
      if (target && target.offsetParent) { event.preventDefault(); target.focus(); }
    };
    if (was === "g" && pages[event.key]) { location.href = pages[event.key]; return; }
    switch (event.key) {
      case "j": go(1); break;
      case "k": go(-1); break;
      case "a": focus("#approve"); break;
      case "d": focus("#reason"); break;
      case "/": focus("form[role=search] input"); break;
      case "?": { const keys = one("#keys"); if (keys) keys.showModal(); break; }
      case " ": if (one("#play") && !event.target.closest("button, a, .ap-player")) { event.preventDefault(); one("#play").click(); } break;
      default:
    }
  });

  // ---- replay
  const deck = one("#deck");
  if (deck) replay(deck);
  if (location.hash.startsWith("#s")) {
    const step = document.getElementById(location.hash.slice(1).replace("=", ""));
    if (step) { step.classList.add("at"); step.scrollIntoView({ block: "center" }); }
  }

  function replay(deck) {
    const total = Number(deck.dataset.total);
    const [play, speed, skip, seek, clock, link] =
      ["#play", "#speed", "#skip", "#seek", "#clock", "#link"].map((selector) => one(selector, deck));
    const steps = all(".step").map((step) => ({ step, at: Number(step.dataset.at) }));
    const casts = all(".terminal").map((place) => cast(place));
    const IDLE = 2000;
    let now = 0, playing = false, before = 0, shown = null, clocked = -1;

    const text = (ms) => {
      const tenths = Math.floor(ms / 100), s = Math.floor(tenths / 10), m = Math.floor(s / 60);
      return `${m}:${String(s % 60).padStart(2, "0")}.${tenths % 10}`;
    };
    const show = (scroll) => {
      seek.value = now;
      if (Math.floor(now / 100) !== clocked) {
        clocked = Math.floor(now / 100);
        clock.textContent = text(now);
        link.href = `#t=${(now / 1000).toFixed(1)}`;
      }
      let current = null;
      for (const { step, at } of steps) {
        step.classList.toggle("later", at > now + 1);
        if (at <= now + 1) current = step;
      }
      if (current !== shown) {
        if (shown) shown.classList.remove("now");
        if (current) {
          current.classList.add("now");
          if (scroll) current.scrollIntoView({ block: "center" });
        }
        shown = current;
      }
    };
    const tick = (time) => {
      if (!playing) return;
      now += (time - before) * Number(speed.value);
      before = time;
      if (skip.checked) {
        const next = steps.find(({ at }) => at > now);
        if (next && next.at - now > IDLE * Number(speed.value) && !casts.some((one) => one.during(now))) now = next.at - 200;
      }
      if (now >= total) { now = total; set(false); }
      show(true);
      casts.forEach((one) => one.follow(now));
      if (playing) requestAnimationFrame(tick);
    };
    const set = (on) => {
      if (on && now >= total) now = 0;
      playing = on;
      play.textContent = on ? "Stop" : "Play";
      play.setAttribute("aria-pressed", on);
      before = performance.now();
      if (on) requestAnimationFrame(tick);
    };
    const to = (ms, scroll) => {
      now = Math.min(total, Math.max(0, ms));
      show(scroll);
      casts.forEach((one) => one.follow(now));
    };
    play.addEventListener("click", () => set(!playing));
    seek.addEventListener("input", () => to(Number(seek.value), true));
    link.addEventListener("click", () => setTimeout(() => navigator.clipboard && navigator.clipboard.writeText(location.href).catch(() => {}), 0));
    const hash = () => {
      const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
      if (found) to(Number(found[1]) * 1000, true);
    };
    window.addEventListener("hashchange", hash);
    if (/^#t=/.test(location.hash)) hash(); else { now = total; show(false); shown && shown.classList.remove("now"); shown = null; now = 0; seek.value = 0; clocked = 0; clock.textContent = text(0); }
  }

  // A terminal of the session. Its player shows the moment that it is told to, and at first the last one.
  function cast(place) {
    const from = Number(place.dataset.from);
    const player = AsciinemaPlayer.create(place.dataset.cast, place, {
      fit: "width", preload: true, terminalFontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    });
    let length = 0, wanted = "100%", busy = false;
    const next = async () => {
      busy = true;
      while (wanted !== null) {
        const at = wanted;
        wanted = null;
        try {
          await player.seek(at);
          length = length || (await player.getDuration() || 0) * 1000;
        } catch { /* What cannot be loaded stays black. */ }
      }
      busy = false;
    };
    next();
    return {
      during: (now) => now >= from && now < from + length,
      follow: (now) => {
        wanted = Math.max(0, (now - from) / 1000);
        if (!busy) next();
      },
    };
  }
})();
