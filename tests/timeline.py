#!/usr/bin/env python3
"""Looks at timelines in a real browser, without a window.

Usage: tests/timeline.py FAILED.html BIG.html [SCREENSHOTS]

FAILED is the timeline of a violation, BIG one with at least 100,000 events. Needs chromium and chromedriver, and
nothing else: it speaks WebDriver over HTTP. With a directory SCREENSHOTS it leaves pictures there.
"""

import base64
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

WIDTH, HEIGHT = 1280, 800
BIG_EVENTS = 100_000
# What one frame may draw, however much there is: a gate on counts, because times are those of the machine.
ITEMS_MOST = 20_000
START_SECONDS = 30
FRAMES = 40
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}",
]


class Browser:
    """A WebDriver session."""

    def __init__(self, profile):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.session = None
        try:
            self.wait_for_driver()
            options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            inner = self.script("return [innerWidth, innerHeight]")
            outer = {"width": 2 * WIDTH - inner[0], "height": 2 * HEIGHT - inner[1]}
            self.post("/window/rect", outer)
        except BaseException:
            self.close()
            raise

    def wait_for_driver(self):
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            if self.driver.poll() is not None or time.monotonic() > until:
                raise SystemExit("tests/timeline.py: chromedriver does not start")
            time.sleep(0.05)

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {json.load(error)['value']['message']}") from None

    def post(self, path, body):
        return self.call("POST", f"/session/{self.session}{path}", body)

    def script(self, text, *arguments):
        return self.post("/execute/sync", {"script": text, "args": list(arguments)})

    def open(self, path):
        self.post("/url", {"url": pathlib.Path(path).resolve().as_uri()})
        self.frame()

    def frame(self):
        """Waits until the page was drawn."""
        self.post("/execute/async", {"script": "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))", "args": []})

    def element(self, selector):
        found = self.post("/element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def click(self, selector):
        self.post(f"/element/{self.element(selector)}/click", {})
        self.frame()

    def type(self, selector, text):
        self.post(f"/element/{self.element(selector)}/value", {"text": text})
        self.frame()

    def press(self, *keys):
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})
        self.frame()

    def point(self, left, top, press=True):
        steps = [{"type": "pointerMove", "duration": 0, "x": round(left), "y": round(top), "origin": "viewport"}]
        if press:
            steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.post("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})
        self.frame()

    def emulate(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})
        self.frame()

    def log(self):
        # Only this test reads pixels back.
        entries = [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]
        return [entry for entry in entries if "getImageData" not in entry]

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("GET", f"/session/{self.session}/screenshot")))

    def close(self):
        if self.session:
            try:
                self.call("DELETE", f"/session/{self.session}")
            except (OSError, AssertionError):
                pass
        self.driver.terminate()
        self.driver.wait()


def read(path):
    """The data of a page, as the page has it."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])


def causes(data):
    return [at - back if back else -1 for at, back in enumerate(data["events"]["cause"])]


def same(name, found, wanted):
    assert found == wanted, f"{name}: found {found!r}, not {wanted!r}"


# Where an event is on the screen.
PLACE = """
const { view, x, events } = timeline;
const box = document.getElementById('canvas').getBoundingClientRect();
const id = arguments[0];
return [box.left + x(events.time[id]), box.top + view.lanes[events.actor[id]].line];
"""
# The color of the canvas at a place of it.
PIXEL = """
const canvas = document.getElementById('canvas');
const ratio = window.devicePixelRatio;
return [...canvas.getContext('2d').getImageData(Math.round(arguments[0] * ratio), Math.round(arguments[1] * ratio), 1, 1).data].slice(0, 3);
"""
# A color of the style as three numbers.
COLOR = """
const made = document.createElement('i');
made.style.color = `var(--${arguments[0]})`;
document.body.append(made);
const color = getComputedStyle(made).color.match(/[0-9]+/g).map(Number).slice(0, 3);
made.remove();
return color;
"""


def test_violation_is_seen_at_once(browser, data):
    found = browser.script("""
        const { view, x, events, violation } = timeline;
        const box = document.getElementById('canvas').getBoundingClientRect();
        const head = document.getElementById('rule').getBoundingClientRect();
        return { x: x(events.time[violation]), width: view.width, left: box.left, top: box.top, head: head.top,
          rule: document.getElementById('rule').textContent, message: document.getElementById('message').textContent,
          page: document.documentElement.scrollHeight <= innerHeight, wide: document.documentElement.scrollWidth <= innerWidth,
          scrolled: document.getElementById('stage').scrollTop, right: innerWidth };
    """)
    same("rule", found["rule"], data["violation"]["rule"])
    same("message", found["message"], data["violation"]["message"])
    assert 0 < found["x"] < found["width"], f"the violation is at {found['x']} of {found['width']} pixels"
    assert found["left"] + found["x"] < found["right"] and found["head"] >= 0 and found["top"] < HEIGHT
    assert found["page"] and found["wide"] and found["scrolled"] == 0, "the page has to be scrolled"
    pin, red = browser.script(PIXEL, found["x"], 40), browser.script(COLOR, "red")
    # A canvas rounds what is not wholly covered.
    assert max(abs(one - other) for one, other in zip(pin, red)) <= 24, f"the pin is {pin}, not {red}"


def test_click_shows_the_cone(browser, data):
    cause = causes(data)
    chain = []
    at = cause[len(cause) - 1]
    while at >= 0:
        chain.append(at)
        at = cause[at]
    # An event in the window whose place on the screen is its own.
    wanted = browser.script("""
        const { view, x, events, nearest } = timeline;
        return arguments[0].find((id) => x(events.time[id]) > 12 && x(events.time[id]) < view.width - 12 && events.cause[id] >= 0 &&
          [-1, 0, 1].every((away) => nearest(x(events.time[id]) + away, view.lanes[events.actor[id]].line) === id));
    """, chain)
    assert wanted is not None, "no event of the violation's past is in the window"
    browser.point(*browser.script(PLACE, wanted))
    same("selected", browser.script("return timeline.view.selected"), wanted)
    past = set()
    at = cause[wanted]
    while at >= 0:
        past.add(at)
        at = cause[at]
    future = set()
    for at in range(wanted + 1, len(cause)):
        if cause[at] == wanted or cause[at] in future:
            future.add(at)
    marks = browser.script("return [...timeline.view.cone.marks]")
    same("past", {at for at, mark in enumerate(marks) if mark == 1}, past)
    same("future", {at for at, mark in enumerate(marks) if mark == 2}, future)
    panel = browser.script("return document.getElementById('panel').innerText")
    text = data["texts"][data["events"]["text"][wanted]]
    assert f"past {len(past)}" in panel.lower() and f"future {len(future)}" in panel.lower(), panel
    assert " ".join(text.split()) in " ".join(panel.split()), panel
    said = browser.script("return document.getElementById('said').textContent")
    assert f"Past {len(past)}" in said, said
    browser.click("input[value=all]")
    more = browser.script("return timeline.view.cone.before")
    assert more >= len(past), "what could matter holds at least the direct causes"
    browser.click("input[value=direct]")
    browser.press("\ue00c")
    same("selected after Escape", browser.script("return timeline.view.selected"), -1)


def test_filters_work(browser, data):
    events = data["events"]
    browser.type("#find", "deadline")
    texts = [text.lower() for text in data["texts"]]
    pairs = list(zip(events["kind"], events["text"]))
    wanted = sum("deadline" in events["kinds"][kind] or "deadline" in texts[text] for kind, text in pairs)
    same("found", browser.script("return timeline.view.passed"), wanted)
    assert 0 < wanted < len(pairs)
    browser.script("const find = document.getElementById('find'); find.value = ''; find.dispatchEvent(new Event('input'))")
    same("all again", browser.script("return timeline.view.passed"), len(pairs))
    browser.click("#kinds summary")
    browser.click('#kind-list input[value="send"]')
    sends = sum(events["kinds"][kind] == "send" for kind, _ in pairs)
    same("without sends", browser.script("return timeline.view.passed"), len(pairs) - sends)
    browser.click('#kind-list input[value="send"]')
    browser.click("#kinds summary")
    lane = 1
    browser.click(f"#labels button:nth-child({lane + 1})")
    same("without a lane", browser.script("return timeline.view.passed"), sum(actor != lane for actor in events["actor"]))
    browser.click(f"#labels button:nth-child({lane + 1})")
    same("all in the end", browser.script("return timeline.view.passed"), len(pairs))


def contrast(one, other):
    def light(color):
        parts = [part / 255 for part in color]
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark(browser, _data):
    for scheme in ("light", "dark"):
        browser.emulate(scheme)
        same("theme", browser.script("return document.documentElement.dataset.theme"), scheme)
        paper = browser.script(COLOR, "paper")
        assert (sum(paper) > 384) == (scheme == "light"), f"the paper of {scheme} is {paper}"
        same("canvas", browser.script(PIXEL, 2, 2), paper)
        for ink, behind in [("ink", "paper"), ("ink", "raised"), ("soft", "paper"), ("soft", "band"), ("soft", "idle"), ("red", "paper"),
                            ("accent", "accent-soft"), ("amber", "amber-soft"), ("violet", "paper"), ("green", "paper"), ("soft", "green-soft")]:
            ratio = contrast(browser.script(COLOR, ink), browser.script(COLOR, behind))
            assert ratio >= 4.5, f"{scheme}: {ink} on {behind} has a contrast of {ratio:.2f}"
    browser.click("#theme")
    same("theme after the button", browser.script("return document.documentElement.dataset.theme"), "light")
    browser.emulate("light")


def test_keys_and_names(browser, _data):
    browser.click("#fit")
    browser.script("document.getElementById('canvas').focus()")
    span = "return timeline.view.to - timeline.view.from"
    before = browser.script(span)
    browser.press("+")
    assert browser.script(span) < before, "plus does not zoom in"
    start = browser.script("return timeline.view.from")
    browser.press("\ue014")
    assert browser.script("return timeline.view.from") > start, "the right arrow does not move"
    browser.press("n")
    first = browser.script("return timeline.view.selected")
    browser.press("n")
    same("the next event", browser.script("return timeline.view.selected"), first + 1)
    browser.press("v")
    same("the violation", browser.script("return timeline.view.selected === timeline.violation"), True)
    browser.press("?")
    same("help", browser.script("return document.getElementById('dialog').open"), True)
    browser.press("\ue00c")
    same("help is closed", browser.script("return document.getElementById('dialog').open"), False)
    browser.press("\ue00c")
    for found in browser.post("/elements", {"using": "css selector", "value": "button, input, summary, canvas[tabindex]"}):
        if not browser.script("return arguments[0].checkVisibility()", found):
            continue
        name = browser.call("GET", f"/session/{browser.session}/element/{next(iter(found.values()))}/computedlabel")
        assert name.strip(), f"a control has no name: {browser.script('return arguments[0].outerHTML', found)}"


def test_nothing_is_loaded(browser, _data):
    same("loaded", browser.script("return performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !name.startsWith('data:'))"), [])


def test_many_events(browser, data):
    count = len(data["events"]["time"])
    assert count >= BIG_EVENTS, f"{count} events are less than {BIG_EVENTS}"
    most, slowest, total = 0, 0.0, 0.0
    frames = browser.script("return timeline.stats.frames")
    for turn in range(FRAMES):
        factor = [1, 0.5, 0.1, 0.01, 0.001][turn % 5]
        found = browser.script("""
            const { show, draw, stats, data } = timeline;
            const span = data.end * arguments[0];
            show(data.end * arguments[1] - span / 2, data.end * arguments[1] + span / 2);
            draw();
            return [stats.items, stats.milliseconds, stats.arrows];
        """, factor, (turn * 0.137) % 1)
        most, slowest, total = max(most, found[0]), max(slowest, found[1]), total + found[1]
    same("frames", browser.script("return timeline.stats.frames") >= frames + FRAMES, True)
    assert 0 < most <= ITEMS_MOST, f"a frame draws {most} items"
    # So near that events have places of their own.
    browser.script("timeline.show(timeline.data.end * 0.5, timeline.data.end * 0.5 + 2e8); timeline.draw()")
    picked = browser.script("""
        const { view, x, events, nearest } = timeline;
        for (let id = events.time.findIndex((time) => time >= view.from); id < events.count; id++)
          if ([-1, 0, 1].every((away) => nearest(x(events.time[id]) + away, view.lanes[events.actor[id]].line) === id)) return id;
    """)
    browser.point(*browser.script(PLACE, picked))
    same("selected", browser.script("return timeline.view.selected"), picked)
    ready = browser.script("return timeline.ready")
    print(f"  {count} events: interactive after {ready:.0f} ms, {most} items in a frame at most, {total / FRAMES:.1f} ms a frame, {slowest:.1f} ms at most")


FAILED_TESTS = [
    test_violation_is_seen_at_once, test_click_shows_the_cone, test_filters_work, test_light_and_dark, test_keys_and_names, test_nothing_is_loaded,
]


def main():
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    shots = pathlib.Path(sys.argv[3]) if len(sys.argv) == 4 else None
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for path, tests in [(sys.argv[1], FAILED_TESTS), (sys.argv[2], [test_nothing_is_loaded, test_many_events])]:
                data = read(path)
                for test in tests:
                    browser.open(path)
                    try:
                        test(browser, data)
                        same("console", browser.log(), [])
                        passed += 1
                        print(f"test {test.__name__} ... ok", flush=True)
                    except AssertionError as error:
                        failed += 1
                        print(f"test {test.__name__} ... FAILED\n  {error}", flush=True)
                if shots:
                    take(browser, path, shots)
        finally:
            browser.close()
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    raise SystemExit(1 if failed else 0)


def take(browser, path, shots):
    shots.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        browser.emulate(scheme)
        browser.open(path)
        name = f"{pathlib.Path(path).stem}-{scheme}"
        browser.picture(shots / f"{name}.png")
        browser.script("const { select, violation, events } = timeline; select(violation >= 0 ? events.cause[violation] : events.count >> 1, true)")
        browser.frame()
        browser.picture(shots / f"{name}-cone.png")
    browser.emulate("light")


if __name__ == "__main__":
    main()
