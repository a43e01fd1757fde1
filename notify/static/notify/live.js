// Keeps a page fresh: <div data-live="5"> and "Data as of" are fetched again every five seconds and
// replaced, as long as the tab is seen. Scroll position and focus stay. It waits while text is
// selected, and while the pointer moves over a [data-live-hold], so that nothing moves away under a
// click. What could not be fetched shows [data-live-lost].
(() => {
    const FRESH = "[data-live], .n-as-of";
    const BOXES = "[data-live] .n-table-box";
    const region = () => document.querySelector("[data-live]");
    if (!region()) return;
    const everyMs = Number(region().dataset.live) * 1000;
    let timer;
    let pointedAt = -Infinity;

    document.addEventListener("pointermove", (event) => {
        if (event.target.closest?.("[data-live-hold]")) pointedAt = performance.now();
    });
    document.addEventListener("visibilitychange", () => {
        clearTimeout(timer);
        if (!document.hidden) refresh();
    });
    plan();

    function plan() {
        clearTimeout(timer);
        if (!document.hidden) timer = setTimeout(refresh, everyMs);
    }

    async function refresh() {
        try {
            const answer = await fetch(location.href, {
                cache: "no-store",
                signal: AbortSignal.timeout(4 * everyMs),
            });
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            if (!answer.ok || answer.redirected || !page.querySelector("[data-live]")) throw answer;
            if (!isHeld()) replace(page);
        } catch {
            const note = document.querySelector("[data-live-lost]");
            if (note) note.hidden = false;
        }
        plan();
    }

    function isHeld() {
        const selection = getSelection();
        const reads = !selection.isCollapsed && region().contains(selection.anchorNode);
        return reads || performance.now() - pointedAt < everyMs;
    }

    function replace(page) {
        const scrolled = [...document.querySelectorAll(BOXES)].map((box) => box.scrollLeft);
        const focused = region().contains(document.activeElement) && document.activeElement;
        const fresh = page.querySelectorAll(FRESH);
        document.querySelectorAll(FRESH).forEach((old, n) => fresh[n] && old.replaceWith(fresh[n]));
        document.querySelectorAll(BOXES).forEach((box, n) => (box.scrollLeft = scrolled[n] ?? 0));
        const href = focused && focused.getAttribute("href");
        if (href) region().querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({preventScroll: true});
    }
})();
