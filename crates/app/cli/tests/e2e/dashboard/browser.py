"""Chromium, told what to do by lines of JSON on stdin; each is answered by one on stdout."""

import json
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

# A machine that runs all tests at once is slow.
PATIENCE_MS = 90_000


def violations(page):
    """What axe finds, for people."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes'][:3]]}" for one in found]


class Browser:
    """One page; its faults are told at the end."""

    def __init__(self, chromium):
        self.chromium = chromium
        self.faults = []
        self.page = None

    def open(self, url, theme="light", width=1280):
        """Opens a link in a browser that knows nothing yet."""
        context = self.chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        context.set_default_timeout(PATIENCE_MS)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        answer = self.page.goto(url)
        return {"status": answer.status, "url": self.page.url}

    def look(self, theme, width):
        """Another theme and width of the same page."""
        self.page.emulate_media(color_scheme=theme)
        self.page.set_viewport_size({"width": width, "height": 900})

    def view(self, name):
        """Goes to a view, without loading the page again."""
        self.page.evaluate("name => { location.hash = `#/${name}` }", name)
        place = name.split("?")[0] + ("" if "/" in name else "/")
        self.page.wait_for_selector(f"main[data-place='{place}'] h1")

    def wait(self, until):
        """Waits until a text stands in the page."""
        expression = "text => document.body.innerText.includes(text)"
        try:
            self.page.wait_for_function(expression, arg=until)
        except Exception as error:
            raise AssertionError(f"`{until}` does not stand in:\n{self.page.inner_text('body')}") from error

    def wait_for(self, expression):
        """Waits until an expression is true."""
        try:
            self.page.wait_for_function(f"() => ({expression})")
        except Exception as error:
            raise AssertionError(f"not true: {expression}\n{self.page.inner_text('body')}") from error

    def evaluate(self, expression):
        """The value of an expression."""
        return self.page.evaluate(expression)

    def press(self, button, within="main"):
        """Presses a button by its name."""
        self.page.locator(within).get_by_role("button", name=button, exact=True).click()

    def fill(self, label, text):
        """Writes into a field of the open dialog."""
        self.page.locator("dialog").get_by_label(label).fill(text)

    def text(self):
        """What stands in the page."""
        return self.page.inner_text("body")

    def axe(self):
        """What axe finds in the page."""
        return violations(self.page)

    def overflow(self):
        """How many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def picture(self, path):
        """A picture of the whole page."""
        self.page.screenshot(path=path, full_page=True)

    def size(self):
        """Bytes of everything that the page loads, as they came over the line."""
        return self.page.evaluate(
            """() => {
                const entries = ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind));
                const own = entries.filter(entry => !entry.name.includes("/v1/"));
                const sizes = new Map(own.map(entry => [entry.name, entry.encodedBodySize]));
                return [...sizes.values()].reduce((sum, size) => sum + size, 0);
            }"""
        )

    def end(self):
        """What went wrong in the page by itself."""
        return self.faults


def main():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        browser = Browser(chromium)
        for line in sys.stdin:
            wish = json.loads(line)
            try:
                answer = {"value": getattr(browser, wish.pop("do"))(**wish)}
            except Exception as error:  # The test says what it had hoped for.
                answer = {"fault": str(error)}
            print(json.dumps(answer), flush=True)
        chromium.close()


main()
