// Every journey through the page, in a real browser, against a real cluster: `make test` runs it.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { excess, openBrowser, SCREENS, sendAllHome, violations, visitor } from "./browser.js";
import { openLibrary, pause, until } from "./library.js";

/** All that comes over the wire until the page can be used. */
const FIRST_LOAD_MAX = 150 * 1024;
const USABLE_WITHIN_MS = 1_000;

let library;
let browser;
before(async () => {
  [library, browser] = await Promise.all([openLibrary(), openBrowser()]);
  // At whose seat nobody will be seen, as the reports tell when all else is over.
  const nobody = await newcomer("nemo");
  await nobody.open("/seats/main/nook");
  await nobody.book("n-001");
  await nobody.close();
});
afterEach(sendAllHome);
after(async () => {
  await browser?.close();
  await library?.close();
});

/** Until nothing is on its way any more: of several things that are, each goes by itself. */
async function settled(page) {
  await until("a page that waits for nothing", async () => (await page.locator("main .waiting").count()) === 0);
}

/** Somebody new, logged in, in front of the hall's map. */
async function newcomer(name, screen, options) {
  const one = await visitor(browser, library, screen, options);
  await one.open("/seats/main/hall");
  await one.register(name);
  await one.seat("h-001").and(one.page.locator(".free, .taken, .mine")).waitFor();
  return one;
}

describe("the first look", () => {
  test("is small, quick, and asks nobody else", async () => {
    const times = [];
    let bytes = 0;
    // Once is enough to show that it can be; what else the machine does is not the page's doing.
    for (let round = 0; round < 5 && !(Math.min(...times) < USABLE_WITHIN_MS); round++) {
      const one = await visitor(browser, library);
      const session = await one.context.newCDPSession(one.page);
      await session.send("Network.enable");
      let received = 0;
      session.on("Network.loadingFinished", ({ encodedDataLength }) => (received += encodedDataLength));
      await one.open("/");
      await one.page.locator(".tiles li").first().waitFor();
      times.push(Math.round(await one.page.evaluate(() => performance.now())));
      await one.page.waitForLoadState("networkidle");
      bytes = Math.max(bytes, received);
      assert.deepEqual(one.trouble, []);
      await one.close();
    }
    console.log(`first load: ${(bytes / 1024).toFixed(1)} KiB on the wire, usable after ${times.join(", ")} ms`);
    assert.ok(bytes < FIRST_LOAD_MAX, `${bytes} bytes`);
    assert.ok(Math.min(...times) < USABLE_WITHIN_MS, `${times} ms`);
  });

  test("the session outlives a reload, and no script can read it", async () => {
    const one = await newcomer("olga");
    assert.equal(await one.page.evaluate(() => document.cookie), "");
    const kept = await one.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
    const cookie = (await one.context.cookies()).find(({ name }) => name === "carrel-session");
    assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
    assert.ok(!kept.includes(cookie.value), "nor does it lie anywhere else");
    await one.page.reload();
    await one.page.locator(".account").waitFor();
    await one.page.locator(".account button").first().click();
    await one.page.getByRole("button", { name: "Log out" }).click();
    await one.page.getByRole("button", { name: "Log in" }).first().waitFor();
    assert.equal((await one.context.cookies()).length, 0, "and it is gone with the session");
    await one.close();
  });

  test("speaks four languages", async () => {
    const one = await visitor(browser, library, "desktop", { locale: "de-DE" });
    await one.open("/seats");
    await one.page.getByRole("heading", { name: "Platz finden" }).waitFor();
    for (const [language, heading] of [["fr", "Trouver une place"], ["zh", "找座位"], ["en", "Find a seat"]]) {
      await one.page.locator(".foot select").selectOption(language);
      await one.page.getByRole("heading", { name: heading }).waitFor();
      assert.equal(await one.page.evaluate(() => document.documentElement.lang), language);
    }
    assert.deepEqual(one.trouble, []);
    await one.close();
  });
});

test("no language is wider than a telephone, and each says what the record says", async () => {
  const one = await visitor(browser, library, "phone");
  await one.open("/staff/audit");
  await one.logIn("admin");
  for (const [language, gaveRole] of Object.entries({ en: "set role", fr: "rôle donné", de: "Rolle gegeben", zh: "设置角色" })) {
    await one.page.locator(".foot select").selectOption(language);
    for (const path of ["seats/main/hall", "day", "account", "cluster", "staff/today", "staff/people", "staff/reports", "staff/audit"]) {
      await one.open(`/${path}`);
      await one.page.locator("main :is(h1, h2):visible").first().waitFor();
      await settled(one.page);
      assert.equal(await excess(one.page), 0, `${path} in ${language}`);
    }
    await one.page.getByText(gaveRole, { exact: true }).first().waitFor();
  }
  assert.deepEqual(one.trouble, []);
  await one.close();
});

for (const [index, screen] of Object.keys(SCREENS).entries()) {
  describe(`on a ${screen}`, () => {
    const id = (n) => `h-${String(index * 16 + n).padStart(3, "0")}`;

    test("two taps, and a day at the desk", async () => {
      const one = await newcomer(`amy-${screen}`, screen);
      await one.book(id(1));
      await one.page.getByRole("button", { name: "To my day" }).click();
      const card = one.page.locator("[data-reservation]");
      const press = (name) => card.getByRole("button", { name, exact: true }).click();
      const state = (name) => one.page.locator(`[data-state="${name}"]`).waitFor();
      await state("CONFIRMED");
      await press("Check in");
      await state("CHECKED_IN");
      await press("Step away");
      await state("AWAY");
      await press("I am back");
      await state("CHECKED_IN");
      const until = await card.locator(".time b").textContent();
      if (!until.endsWith("24:00")) {
        await press("+ 30m");
        await card.locator(".time b", { hasNotText: until }).waitFor();
      }
      await press("Check out");
      await one.page.getByText("Nothing is booked.").waitFor();
      assert.deepEqual(one.trouble, []);
      await one.close();
    });

    test("by keyboard alone, from the map and from the list", async () => {
      const one = await newcomer(`kim-${screen}`, screen);
      await one.seat("h-001").focus();
      await one.page.keyboard.press("ArrowRight");
      assert.match(await focused(one.page), /^Row 1, seat H2, /);
      await one.page.keyboard.press("ArrowDown");
      assert.match(await focused(one.page), /^Row 2, seat H10, /);
      await one.page.getByRole("button", { name: "List" }).click();
      await one.page.getByLabel("Show taken seats too").check();
      await one.seat(id(2)).focus();
      assert.match(await focused(one.page), /^Row \d, Seat H\d+, free/);
      await one.page.keyboard.press("Enter");
      await one.page.getByRole("button", { name: "Book this seat" }).focus();
      await one.page.keyboard.press("Enter");
      await one.page.locator('[data-phase="booked"]').waitFor();
      await one.page.keyboard.press("Escape");
      await one.page.locator("dialog").waitFor({ state: "detached" });
      assert.match(await focused(one.page), /yours/, "the focus is back where it was");
      await one.close();
    });

    test("what fits, and when: the filter and both ends of the time", async () => {
      const one = await newcomer(`zoe-${screen}`, screen);
      const count = async () => Number(await one.page.locator(".figure").textContent());
      await until("as many as are shown free", async () => (await count()) === (await one.page.locator(".seat.free").count()));
      const all = await count();
      await one.page.locator(".chip", { hasText: "Window" }).click();
      await until("fewer that fit", async () => (await count()) < all);
      assert.equal(await one.page.locator(".seat.free:not(.faint)").count(), await count());
      assert.ok(await one.page.locator(".seat.free.faint").count(), "the others are there still, and faint");
      await one.page.locator(".chip", { hasText: "Window" }).click();
      await until("all again", async () => (await count()) === all);
      await one.page.locator(".date").nth(1).click();
      const time = one.page.locator(".chosen b");
      for (const name of ["Until", "From"]) {
        const before = await time.textContent();
        const end = one.page.getByRole("slider", { name });
        await end.focus();
        // Late in the evening there is no later end.
        await one.page.keyboard.press((await end.inputValue()) === (await end.getAttribute("max")) ? "ArrowLeft" : "ArrowRight");
        await one.page.locator(".chosen b", { hasNotText: before }).waitFor();
      }
      await one.page.locator(".seat.free").nth(40).waitFor();
      await one.close();
    });

    test("a seat is held while one decides, and free again once one has", async () => {
      const [one, other] = await Promise.all([newcomer(`uma-${screen}`, screen), newcomer(`vic-${screen}`, screen)]);
      await one.seat(id(4)).click();
      await one.page.getByRole("button", { name: "Book this seat" }).waitFor();
      assert.match(await one.page.locator(".ring").textContent(), /^[12]:\d\d$/, "with the time that is left");
      await other.page.locator(`[data-seat$="/${id(4)}"].taken`).waitFor();
      await one.page.getByRole("button", { name: "Not this one" }).click();
      await other.page.locator(`[data-seat$="/${id(4)}"].free`).waitFor();
      await until("nothing of it", async () => !(await one.page.locator(".seat.mine, .seat.held").count()));
      await Promise.all([one.close(), other.close()]);
    });

    test("a hold is never said to be longer than it is, whatever the clock of the device says", async () => {
      const one = await visitor(browser, library, screen);
      // Less than what is taken for a wrong clock.
      await one.page.addInitScript(() => {
        const right = Date.now;
        Date.now = () => right() - 2_500;
      });
      await one.open("/seats/main/hall");
      await one.register(`una-${screen}`);
      await one.seat(id(9)).click();
      assert.match(await one.page.locator(".ring").textContent(), /^(2:00|1:5\d)$/);
      await one.page.getByRole("button", { name: "Not this one" }).click();
      await one.close();
    });

    test("whose announcements one hears: of branches that one follows, and of no others", async () => {
      const [reader, desk] = await Promise.all([newcomer(`fay-${screen}`, screen), visitor(browser, library, screen)]);
      await desk.open("/staff/announce");
      await desk.logIn("admin");
      const announce = async (text, whom) => {
        await desk.page.getByLabel("To whom").selectOption({ label: whom });
        await desk.page.getByLabel("Text").fill(text);
        await desk.page.getByRole("button", { name: "Announce" }).click();
        await until("an empty form", async () => (await desk.page.getByLabel("Text").inputValue()) === "");
      };
      const follow = async (isWanted) => {
        await reader.open("/account");
        const box = reader.page.getByRole("checkbox", { name: "Main Library" });
        await box.waitFor();
        await box.setChecked(isWanted, { force: true });
        await reader.page.locator(".toast").getByText("Saved").waitFor();
        await reader.page.reload();
        await box.waitFor();
        assert.equal(await box.isChecked(), isWanted, "and that is kept");
      };
      await follow(true);
      await reader.open("/inbox");
      await announce("The roof is open.", "Main Library");
      await reader.page.getByText("The roof is open.").waitFor();
      await follow(false);
      await reader.open("/inbox");
      await announce("The roof is shut.", "Main Library");
      await announce("And so good night.", "To everybody");
      await reader.page.getByText("And so good night.").waitFor();
      assert.equal(await reader.page.getByText("The roof is shut.").count(), 0);
      assert.deepEqual([...reader.trouble, ...desk.trouble], []);
      await Promise.all([reader.close(), desk.close()]);
    });

    test("what somebody may do and what they need, said at the desk by who may", async () => {
      const [admin, libby, vera] = [
        await visitor(browser, library, screen),
        await newcomer(`libby-${screen}`, screen),
        await newcomer(`vera-${screen}`, screen),
      ];
      await admin.open("/staff/people");
      await admin.logIn("admin");
      const hers = await person(admin, `libby-${screen}`);
      await hers.getByRole("button", { name: "Change" }).click();
      await hers.getByLabel("Role").selectOption({ label: "Librarian" });
      await hers.getByRole("button", { name: "Save" }).click();
      await hers.getByRole("alert").filter({ hasText: /\w/ }).waitFor();
      await hers.getByText("Main Library").click();
      await hers.getByRole("button", { name: "Save" }).click();
      await hers.getByText("Librarian · Main Library").waitFor();
      await libby.open("/staff/people");
      const needy = await person(libby, `vera-${screen}`);
      await needy.getByRole("button", { name: "Change" }).click();
      assert.equal(await needy.getByLabel("Role").count(), 0, "what somebody may do is for admins to say");
      await needy.getByLabel("Needs an accessible seat").check();
      await needy.getByRole("button", { name: "Save" }).click();
      await libby.page.locator(".toast").getByText("Saved").waitFor();
      await libby.page.reload();
      await (await person(libby, `vera-${screen}`)).getByText("Needs an accessible seat").waitFor();
      assert.deepEqual(await violations(admin.page), []);
      assert.equal(await excess(admin.page), 0);
      assert.deepEqual([...admin.trouble, ...libby.trouble, ...vera.trouble], []);
      await Promise.all([admin.close(), libby.close(), vera.close()]);
    });

    test("the longest name stays within its bar in the day of an area, and is told whole", async () => {
      const name = `the-reader-with-the-longest-name-of-them-${screen}`;
      const [one, desk] = await Promise.all([newcomer(name, screen), visitor(browser, library, screen)]);
      await one.page.locator(".date").nth(1).click();
      await one.page.locator(".chosen b").waitFor();
      const end = one.page.getByRole("slider", { name: "Until" });
      await end.focus();
      for (let press = 0; press < 3; press++) await one.page.keyboard.press("ArrowLeft");
      await one.seat(id(10)).and(one.page.locator(".free")).waitFor();
      await one.book(id(10));
      await desk.open("/staff/today");
      await desk.logIn("admin");
      await desk.page.locator("#staff-area").selectOption({ label: "Hall" });
      await desk.page.getByRole("button", { name: "Day after" }).click();
      const bar = desk.page.locator(".stay").filter({ hasText: name });
      await bar.waitFor();
      const [text, whole] = await bar.evaluate((stay) => {
        const width = (what) => stay.querySelector(what).getBoundingClientRect().width;
        return [width("text"), width("rect")];
      });
      assert.ok(text <= whole, `${text} of ${whole}`);
      assert.ok((await bar.getAttribute("aria-label")).includes(name));
      await Promise.all([one.close(), desk.close()]);
    });

    test("a calendar's address: told once, good for every calendar, and worthless when one says so", async () => {
      const one = await newcomer(`cal-${screen}`, screen);
      await one.book(id(6));
      await one.page.getByRole("button", { name: "To my day" }).click();
      await one.page.getByRole("button", { name: "Make an address" }).click();
      const address = await one.page.getByLabel("Told this once").inputValue();
      const before = await fetch(address);
      assert.match(await before.text(), /BEGIN:VEVENT/);
      assert.match(before.headers.get("content-type"), /^text\/calendar/);
      await one.page.getByRole("button", { name: "Revoke it" }).click();
      await one.page.locator(".toast").getByText("leads nowhere").waitFor();
      assert.equal((await fetch(address)).status, 404);
      const [file] = await Promise.all([
        one.page.waitForEvent("download"),
        one.page.getByRole("button", { name: "Calendar", exact: true }).click(),
      ]);
      assert.equal(file.suggestedFilename(), `${id(6)}.ics`);
      await one.close();
    });

    test("an account: where one is logged in, another password, all that is kept, and gone", async () => {
      const [name, old, wanted] = [`wes-${screen}`, "a good long password", "an even better password"];
      const [one, elsewhere] = await Promise.all([newcomer(name, screen), visitor(browser, library, screen)]);
      await elsewhere.open("/seats/main/hall");
      await elsewhere.logIn(name, old);
      await one.open("/account");
      await one.page.locator('[data-session="other"]').getByRole("button", { name: "Log out" }).click();
      await one.page.locator('[data-session="other"]').waitFor({ state: "detached" });
      await elsewhere.open("/day");
      await elsewhere.page.getByRole("heading", { name: "Log in to see what is yours" }).waitFor();
      await one.page.getByLabel("Password now").fill("not my password");
      await one.page.getByLabel("New password").fill(wanted);
      await one.page.getByRole("button", { name: "Change password" }).click();
      await one.page.getByRole("alert").getByText("Name or password is wrong").waitFor();
      await one.page.getByLabel("Password now").fill(old);
      await one.page.getByRole("button", { name: "Change password" }).click();
      await one.page.locator(".toast").getByText("Changed").waitFor();
      await elsewhere.logIn(name, wanted);
      const [file] = await Promise.all([
        one.page.waitForEvent("download"),
        one.page.getByRole("button", { name: "Download" }).click(),
      ]);
      const kept = JSON.parse(await contentOf(file));
      assert.equal(kept.user.name, `users/${name}`);
      await one.page.getByRole("button", { name: "Delete account" }).click();
      await one.page.getByRole("button", { name: "Really delete all of it" }).click();
      await one.page.getByRole("button", { name: "Log in" }).first().waitFor();
      await elsewhere.open("/day");
      await elsewhere.page.getByRole("heading", { name: "Log in to see what is yours" }).waitFor();
      await Promise.all([one.close(), elsewhere.close()]);
    });

    test("a strike for who cancels late, seen by them, waived at the desk, and told", async () => {
      const [patron, desk] = await Promise.all([newcomer(`rex-${screen}`, screen), visitor(browser, library, screen)]);
      await patron.open("/seats/main/cells");
      await patron.book("c-004");
      await patron.page.getByRole("button", { name: "To my day" }).click();
      await patron.page.getByRole("button", { name: "Cancel booking" }).click();
      await patron.page.getByRole("button", { name: "Really cancel" }).click();
      await patron.page.getByText("Nothing is booked.").waitFor();
      await patron.open("/account");
      await patron.page.getByText("Cancelled late").waitFor();
      await desk.open("/staff/people");
      await desk.logIn("admin");
      const card = await person(desk, `rex-${screen}`);
      await card.getByRole("button", { name: "Strikes" }).click();
      await card.getByLabel("Reason, for the record").fill("The fire alarm");
      await card.getByRole("button", { name: "Waive" }).click();
      await card.locator(".extras", { hasText: "Waived" }).waitFor();
      await patron.open("/inbox");
      await patron.page.getByText("A strike was waived").first().waitFor();
      await Promise.all([patron.close(), desk.close()]);
    });

    test("two want one seat: one has it, the other has three more, and a place in line", async () => {
      const [one, other] = await Promise.all([newcomer(`ben-${screen}`, screen), newcomer(`cleo-${screen}`, screen)]);
      await Promise.all([one.seat(id(3)).click(), other.seat(id(3)).click()]);
      const outcomes = await Promise.all(
        [one, other].map(async ({ page }) => {
          const phase = page.locator('[data-phase="held"], [data-phase="refused"]');
          await phase.waitFor();
          return phase.getAttribute("data-phase");
        }),
      );
      assert.deepEqual([...outcomes].sort(), ["held", "refused"]);
      const [winner, loser] = outcomes[0] === "held" ? [one, other] : [other, one];
      await winner.page.getByRole("button", { name: "Book this seat" }).click();
      await winner.page.locator('[data-phase="booked"]').waitFor();
      assert.equal(await loser.page.locator("[data-reason]").getAttribute("data-reason"), "SEAT_TAKEN");
      const alternatives = loser.page.locator(".alternatives button");
      assert.equal(await alternatives.count(), 3);
      // In line first, for which the seat is asked for once more.
      await loser.page.getByRole("button", { name: "Wait for this seat" }).click();
      await loser.page.locator('[data-phase="waiting"]').waitFor();
      await loser.page.getByRole("button", { name: "Close" }).click();
      await loser.seat(id(3)).click();
      await alternatives.first().click();
      await loser.page.locator('[data-phase="booked"]').waitFor();
      await loser.page.getByRole("button", { name: "To my day" }).click();
      const line = loser.page.locator(".card", { has: loser.page.getByRole("button", { name: "Leave the line" }) });
      assert.match(await line.innerText(), /Place\s+1/, "how far in front");
      const own = loser.page.locator('[data-state="CONFIRMED"]');
      await own.getByRole("button", { name: "Cancel booking" }).click();
      await own.getByRole("button", { name: "Really cancel" }).click();
      await own.waitFor({ state: "detached" });
      // Out of the line, and into it again.
      await line.getByRole("button", { name: "Leave the line" }).click();
      await line.waitFor({ state: "detached" });
      await loser.open("/seats/main/hall");
      await loser.seat(id(3)).click();
      await loser.page.getByRole("button", { name: "Wait for this seat" }).click();
      await loser.page.locator('[data-phase="waiting"]').waitFor();
      await loser.page.getByRole("button", { name: "To my day" }).click();
      // The winner does not come: the loser is offered the seat, as the page is open, without asking.
      await winner.page.getByRole("button", { name: "To my day" }).click();
      await winner.page.getByRole("button", { name: "Cancel booking" }).click();
      await winner.page.getByRole("button", { name: "Really cancel" }).click();
      await loser.page.getByText("Offered to you", { exact: true }).waitFor();
      assert.match(await loser.page.locator(".moment").first().innerText(), /accept within\s+(10:00|\d:\d\d)$/i);
      await loser.page.getByRole("button", { name: "Accept" }).click();
      await loser.page.locator('[data-state="CONFIRMED"]').waitFor();
      assert.deepEqual([...one.trouble, ...other.trouble], []);
      await Promise.all([one.close(), other.close()]);
    });

    test("letters, live, taken back, and not wanted", async () => {
      const [dora, eli] = await Promise.all([newcomer(`dora-${screen}`, screen), newcomer(`eli-${screen}`, screen)]);
      await eli.open(`/messages/dora-${screen}`);
      await dora.open(`/messages/eli-${screen}`);
      await dora.open(`/messages/nobody-${screen}`);
      await dora.page.getByPlaceholder("Write something").fill("Anybody?");
      await dora.page.getByRole("button", { name: "Send" }).click();
      await dora.page.getByRole("alert").getByText("There is nobody of this name. Nothing was sent.").waitFor();
      await dora.open(`/messages/eli-${screen}`);
      await dora.page.getByPlaceholder("Write something").fill("Is the seat by the window free?");
      await dora.page.getByRole("button", { name: "Send" }).click();
      await eli.page.locator(".bubbles").getByText("Is the seat by the window free?").waitFor();
      await dora.page.getByRole("button", { name: "Take back" }).click();
      await eli.page.locator(".bubbles li").waitFor({ state: "detached" });
      await eli.page.getByRole("button", { name: "Block", exact: true }).click();
      await eli.page.locator(".toast").getByText("Blocked").waitFor();
      const send = async (text) => {
        await dora.page.getByPlaceholder("Write something").fill(text);
        await dora.page.getByRole("button", { name: "Send" }).click();
        await dora.page.locator(".bubbles").getByText(text).waitFor();
      };
      await send("Hello?");
      // Where there is room for only one of them, the list is behind the letters.
      await eli.open("/messages");
      await eli.page.getByRole("button", { name: "Unblock" }).click();
      await eli.page.getByRole("button", { name: "Unblock" }).waitFor({ state: "detached" });
      await eli.open("/day");
      await send("Thank you.");
      await eli.page.locator(".tabs .unread").getByText("1").waitFor();
      await eli.page.getByRole("link", { name: "Inbox" }).click();
      await eli.page.locator(".fresh").getByText("Thank you.").waitFor();
      await eli.page.locator(".fresh").waitFor({ state: "detached" });
      await eli.page.locator(".tabs .unread").waitFor({ state: "detached" });
      assert.equal(await eli.page.getByText("Hello?").count(), 0, "what was not wanted is not there later");
      await eli.page.getByText("Thank you.").click();
      await eli.page.locator(".bubbles").getByText("Thank you.").waitFor();
      await eli.open("/messages");
      await eli.page.locator(".people .line", { hasText: `dora-${screen}` }).getByText("Thank you.").waitFor();
      assert.deepEqual([...dora.trouble, ...eli.trouble], []);
      await Promise.all([dora.close(), eli.close()]);
    });

    test("the desk: who sits where, walk-ins, closures, announcements", async () => {
      const [patron, desk] = await Promise.all([newcomer(`finn-${screen}`, screen), visitor(browser, library, screen)]);
      await patron.book(id(5));
      await desk.open("/staff/today");
      await desk.logIn("admin");
      await desk.page.locator("#staff-area").selectOption({ label: "Hall" });
      await desk.page.locator(".stay").filter({ hasText: `finn-${screen}` }).waitFor();
      await desk.page.getByRole("link", { name: "Walk-in" }).click();
      const walkIn = async (person, seat) => {
        await desk.page.getByLabel("Person").fill(person);
        await desk.page.getByLabel("Seat", { exact: true }).fill(seat);
        await desk.page.getByRole("button", { name: "Seat them" }).click();
      };
      await walkIn(`finn-${screen}`, "Under the stairs");
      await desk.page.getByRole("alert").getByText("There is no such seat here.").waitFor();
      await walkIn(`finn-${screen}`, id(7));
      // Finn has another seat at this time, and the desk is told so.
      await desk.page.getByRole("alert").getByText("another seat").waitFor();
      // As it stands on the desk, for who knows no ids.
      await walkIn("patron", `h${index * 16 + 7}`);
      await desk.page.locator(".toast").getByText("Seated").waitFor();
      await desk.page.getByRole("link", { name: "Day", exact: true }).click();
      await desk.page.locator(".stay.checked_in").filter({ hasText: "patron" }).click();
      await desk.page.getByRole("button", { name: "Check out" }).click();
      await desk.page.locator(".toast").getByText("Checked out").waitFor();
      await desk.page.locator(".stay.confirmed").filter({ hasText: `finn-${screen}` }).click();
      await desk.page.getByRole("button", { name: "Cancel booking" }).click();
      await desk.page.getByLabel("Reason, for the record").fill("The ceiling drips");
      await desk.page.getByRole("button", { name: "Really cancel" }).click();
      await desk.page.locator(".toast").getByText("Cancelled").waitFor();
      await desk.page.getByRole("link", { name: "Closures" }).click();
      await desk.page.getByLabel("Seat (empty: the whole area)").fill(id(8));
      const tomorrow = new Date(Date.now() + 36 * 3_600_000).toISOString().slice(0, 10);
      await desk.page.getByLabel("Day", { exact: true }).fill(tomorrow);
      await desk.page.getByLabel("Reason, for the record").fill("The lamp is broken");
      await desk.page.getByRole("button", { name: "What would happen?" }).click();
      await desk.page.getByText("Closes 1 seat").waitFor();
      await desk.page.getByRole("button", { name: "Close", exact: true }).click();
      await desk.page.locator(".toast").getByText("Closed").waitFor();
      await desk.page.getByLabel("Seat (empty: the whole area)").fill(id(8));
      await desk.page.getByLabel("Day", { exact: true }).fill(tomorrow);
      await desk.page.getByLabel("Reason, for the record").fill("A new lamp");
      await desk.page.getByRole("button", { name: "Reopen" }).click();
      await desk.page.locator(".toast").getByText("Reopened").waitFor();
      const card = await person(desk, `finn-${screen}`);
      await card.getByRole("button", { name: "Suspend for a week" }).click();
      await card.getByLabel("Reason, for the record").fill("Three times no-show");
      await card.getByRole("button", { name: "Suspend for a week" }).click();
      await card.getByRole("button", { name: "End suspension" }).click();
      await card.getByRole("button", { name: "Suspend for a week" }).waitFor();
      await patron.open("/inbox");
      await patron.page.getByText("Cancelled by staff").waitFor();
      await desk.page.getByRole("link", { name: "Announcement" }).click();
      const announce = async (whom, text) => {
        await desk.page.getByLabel("To whom").selectOption(whom);
        await desk.page.getByLabel("Text").fill(text);
        await desk.page.getByRole("button", { name: "Announce" }).click();
        await until("an empty form", async () => (await desk.page.getByLabel("Text").inputValue()) === "");
      };
      await announce({ label: "Kiosk" }, `Restart at ten, on a ${screen}.`);
      await announce({ label: "Main Library" }, `The lift is out, on a ${screen}.`);
      await announce({ label: "To everybody" }, `Tea at four, on a ${screen}.`);
      await patron.page.getByText(`Tea at four, on a ${screen}.`).waitFor();
      await patron.page.getByText(`The lift is out, on a ${screen}.`).waitFor();
      assert.equal(await patron.page.getByText("Restart at ten").count(), 0, "who is no kiosk is not told");
      await desk.page.getByRole("link", { name: "Audit" }).click();
      await desk.page.getByLabel("Name, or number of a reservation").fill(`finn-${screen}`);
      await desk.page.getByRole("button", { name: "Search" }).click();
      const suspended = desk.page.locator('[data-action="SUSPEND"]');
      await suspended.getByText("Three times no-show").first().waitFor();
      await suspended.getByText("admin").first().waitFor();
      assert.deepEqual([...patron.trouble, ...desk.trouble], []);
      await Promise.all([patron.close(), desk.close()]);
    });

    test("nothing that axe would object to, in light and in dark", async () => {
      for (const colorScheme of ["light", "dark"]) {
        const one = await visitor(browser, library, screen, { colorScheme, bypassCSP: true, reducedMotion: "reduce" });
        await one.open("/seats/main/hall");
        await one.page.locator(".tiles li").first().waitFor();
        assert.deepEqual(await violations(one.page), [], `before a login, ${colorScheme}`);
        await one.logIn("admin");
        await one.page.locator(".seat.free").first().waitFor();
        assert.deepEqual(await violations(one.page), [], `the map, ${colorScheme}`);
        assert.equal(await excess(one.page), 0, "the map is no wider than the screen");
        await one.seat(id(16)).click();
        await one.page.getByRole("button", { name: "Book this seat" }).waitFor();
        assert.deepEqual(await violations(one.page), [], `a held seat, ${colorScheme}`);
        await one.page.getByRole("button", { name: "Not this one" }).click();
        await one.page.getByRole("button", { name: "List" }).click();
        assert.deepEqual(await violations(one.page), [], `the list, ${colorScheme}`);
        const desk = ["today", "walkin", "closures", "people", "announce", "reports", "audit", "catalogue"];
        const others = ["day", "inbox", "messages/kim", "account", "kiosk", "cluster", ...desk.map((tab) => `staff/${tab}`)];
        for (const path of others) {
          await one.open(`/${path}`);
          await one.page.locator("main :is(h1, h2):visible").first().waitFor();
          await settled(one.page);
          assert.deepEqual(await violations(one.page), [], `${path}, ${colorScheme}`);
          assert.equal(await excess(one.page), 0, `${path} is no wider than the screen`);
        }
        await one.close();
      }
    });
  });
}

describe("in the library", () => {
  test("a kiosk shows the code, and whoever is there checks in with it", async () => {
    const [kiosk, one] = await Promise.all([visitor(browser, library), newcomer("gwen")]);
    await kiosk.open("/kiosk/main");
    const hall = kiosk.page.locator(".tiles li", { hasText: "Hall" });
    await hall.getByText("free of 48").waitFor();
    const free = Number(await hall.locator("b, strong").first().textContent());
    await one.book("h-046");
    await until("one fewer, without anybody asking", async () => {
      return Number(await hall.locator("b, strong").first().textContent()) < free;
    });
    await kiosk.open("/kiosk/main/c-001");
    await kiosk.logIn("kiosk");
    await kiosk.page.getByText(/The next code comes in \d:\d\d/).waitFor();
    const code = (await kiosk.page.locator("[data-code]").textContent()).trim();
    await one.page.getByRole("button", { name: "To my day" }).click();
    await one.page.getByRole("button", { name: "Cancel booking" }).click();
    await one.page.getByRole("button", { name: "Really cancel" }).click();
    await one.page.getByText("Nothing is booked.").waitFor();
    await one.open("/seats/main/cells");
    await one.book("c-001");
    await one.page.getByRole("button", { name: "To my day" }).click();
    await one.page.getByRole("button", { name: "Check in" }).click();
    await one.page.getByPlaceholder("K7M-2QP").fill(code.toLowerCase());
    await one.page.getByRole("button", { name: "Check in" }).click();
    await one.page.locator('[data-state="CHECKED_IN"]').waitFor();
    await Promise.all([kiosk.close(), one.close()]);
  });

  test("a catalogue is imported after a look at what changes", async () => {
    const admin = await visitor(browser, library);
    await admin.open("/staff/catalogue");
    await admin.logIn("admin");
    const [download] = await Promise.all([
      admin.page.waitForEvent("download"),
      admin.page.getByRole("button", { name: "Download the catalogue" }).click(),
    ]);
    const catalogue = JSON.parse(await contentOf(download));
    catalogue.branches[0].areas.find(({ id }) => id === "cells").seats.pop();
    const buffer = Buffer.from(JSON.stringify(catalogue));
    await admin.page.getByLabel("Import a file").setInputFiles({ name: "c.json", mimeType: "application/json", buffer });
    await admin.page.getByText("0 added, 0 changed, 1 removed.").waitFor();
    await admin.page.getByRole("button", { name: "Import", exact: true }).click();
    await admin.page.locator(".toast").getByText("Imported").waitFor();
    await admin.close();
  });
});

describe("how it is used", () => {
  test("full hours, no-shows, every area, and a file of it all, for who may know", async () => {
    const reader = await newcomer("nora");
    await reader.book("h-045");
    await reader.page.getByRole("button", { name: "Done" }).click();
    await reader.page.locator(".date").nth(1).click();
    await reader.seat("h-046").and(reader.page.locator(".free")).waitFor();
    await reader.book("h-046");
    const desk = await visitor(browser, library);
    await desk.open("/staff/reports");
    await desk.logIn("auditor");
    await desk.page.locator(".heat").waitFor();
    assert.deepEqual(await desk.page.locator(".subtabs a").allTextContents(), ["Reports", "Audit"]);
    const told = library.hasRecord ? "From the relational record" : "From what the nodes hold";
    await desk.page.getByText(told).waitFor();
    // Today is the last row, and the record a moment behind.
    const full = desk.page.locator(".heat tbody tr:last-child td:not(.shut)").filter({ hasNotText: /^0 %$/ });
    await until("an hour that is not empty", async () => {
      if (await full.count()) return true;
      await desk.page.reload();
      await desk.page.locator(".heat").waitFor();
      return false;
    });
    assert.equal(await desk.page.locator(".heat tbody tr").count(), 7);
    await until("who did not come", async () => {
      const missing = desk.page.locator(".bars .missing");
      const heights = await missing.evaluateAll((all) => all.map((one) => one.getBoundingClientRect().height));
      if (heights.some((height) => height > 1)) return true;
      await pause(2_000);
      await desk.page.reload();
      await desk.page.locator(".heat").waitFor();
      return false;
    }, 120_000);
    await desk.page.getByRole("button", { name: "Next 7 days" }).click();
    await desk.page.locator(".heat tbody tr:nth-child(2) td:not(.shut)").filter({ hasNotText: /^0 %$/ }).first().waitFor();
    assert.equal(await desk.page.locator(".bars").count(), 0, "nobody has come yet, or not");
    await desk.page.getByRole("button", { name: "28 days" }).click();
    await desk.page.locator(".heat tbody tr").nth(27).waitFor();
    await desk.page.locator(".numbers").getByRole("rowheader", { name: "Hall" }).waitFor();
    const [download] = await Promise.all([
      desk.page.waitForEvent("download"),
      desk.page.getByRole("button", { name: "Reservations as CSV" }).click(),
    ]);
    const lines = (await contentOf(download)).trim().split("\n");
    assert.ok(lines.length > 1 && !lines.some((line) => line.includes("nora")), "people have pseudonyms");
    await reader.open("/staff/reports");
    await reader.page.getByText("This is for staff.").waitFor();
    assert.deepEqual([...desk.trouble, ...reader.trouble], []);
    await Promise.all([reader.close(), desk.close()]);
  });

  test("light or dark, as one likes, also the next time", async () => {
    const one = await visitor(browser, library, "desktop", { colorScheme: "light" });
    await one.open("/seats");
    const paper = () => one.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await one.page.getByRole("button", { name: "Light or dark" }).click();
    const dark = await paper();
    assert.notEqual(dark, light);
    await one.page.reload();
    await one.page.locator(".tiles li").first().waitFor();
    assert.equal(await paper(), dark);
    await one.close();
  });
});

describe("when the leader dies", () => {
  test("in the middle of a booking, its answer on the way: the booking is made, once", async () => {
    const one = await newcomer("hugo");
    library.prefer(await library.leader());
    await one.page.reload();
    const attempts = [];
    await one.page.route("**/ConfirmReservation", async (route) => {
      attempts.push(route.request().postDataBuffer().toString("hex"));
      if (attempts.length > 1) return route.continue();
      // It has been decided, on the disks of a majority; nobody hears of it.
      await route.fetch();
      library.kill(await library.leader());
      await route.abort("connectionreset");
    });
    await one.seat("h-048").click();
    await one.page.getByRole("button", { name: "Book this seat" }).click();
    await one.page.getByText("Reconnecting. Your booking is sent again, and made once.").waitFor();
    assert.equal(await one.page.locator('[data-phase="booked"], .seat.mine').count(), 0, "what is not known is not shown");
    await one.page.locator('[data-phase="booked"]').waitFor();
    assert.ok(attempts.length > 1, "it was asked again");
    assert.equal(new Set(attempts).size, 1, "with the same request id");
    await one.page.getByRole("button", { name: "To my day" }).click();
    await one.page.locator('[data-state="CONFIRMED"]').waitFor();
    assert.equal(await one.page.locator("[data-reservation]").count(), 1);
    await one.close();
  });

  test("in the middle of a live map: it says so, comes back, and has missed nothing", async () => {
    const [one, other] = await Promise.all([newcomer("iris"), newcomer("jack")]);
    await until("all replicas", async () => (await library.leader()) !== undefined);
    const leader = await library.leader();
    library.prefer(leader);
    const watches = [];
    one.page.on("request", (request) => {
      if (request.url().endsWith("/WatchSeatMap")) watches.push(request.postDataBuffer()?.length ?? 0);
    });
    await one.page.reload();
    await one.page.locator('[data-seat$="/h-047"].free').waitFor();
    const saw = one.page.locator('[data-link="reconnecting"]').waitFor();
    library.kill(leader);
    await saw;
    await other.book("h-047");
    await one.page.locator('[data-seat$="/h-047"].taken').waitFor();
    await one.page.locator('[data-link="reconnecting"]').waitFor({ state: "detached" });
    assert.ok(watches.at(-1) > watches[0], `it goes on where it was, by a token: ${watches}`);
    await other.page.getByRole("button", { name: "To my day" }).click();
    await other.page.getByRole("button", { name: "Cancel booking" }).click();
    await other.page.getByRole("button", { name: "Really cancel" }).click();
    await one.page.locator('[data-seat$="/h-047"].free').waitFor();
    await Promise.all([one.close(), other.close()]);
  });

  test("letters that were sent meanwhile are there afterwards, each once, through another node", async () => {
    const [reader, writer] = await Promise.all([newcomer("lena"), newcomer("max")]);
    const leader = await library.leader();
    library.prefer(leader);
    await reader.open("/inbox");
    await reader.page.getByRole("heading", { name: "Inbox" }).waitFor();
    await writer.open("/messages/lena");
    const send = async (text) => {
      await writer.page.getByPlaceholder("Write something").fill(text);
      await writer.page.getByRole("button", { name: "Send" }).click();
      await writer.page.locator(".bubbles").getByText(text).waitFor();
    };
    await send("before");
    await reader.page.getByText("before").waitFor();
    library.kill(leader);
    await send("meanwhile");
    await send("afterwards");
    await reader.page.getByText("afterwards").waitFor();
    assert.deepEqual(await reader.page.locator(".words").allTextContents(), ["afterwards", "meanwhile", "before"]);
    await Promise.all([reader.close(), writer.close()]);
  });

  test("the cluster is shown as it is, and an admin hands leadership over", async () => {
    const admin = await visitor(browser, library);
    const watches = [];
    admin.page.on("request", (request) => {
      if (request.url().endsWith("/WatchCluster")) watches.push(request.postDataBuffer()?.length ?? 0);
    });
    await until("a leader", async () => (await library.leader()) !== undefined);
    await admin.open("/cluster");
    await admin.logIn("admin");
    await until("three that answer", async () => /3 \/ 3/.test(await admin.page.locator(".figures").innerText()));
    const before = await admin.page.locator("[data-leader]").textContent();
    // A line per node in each of the charts, and they move.
    for (const title of ["Commit index", "Lag"]) {
      const chart = admin.page.locator(".chart", { hasText: title });
      const said = () => chart.getByRole("img").getAttribute("aria-label");
      await until("a number for each", async () => /: #\d+ \d+, #\d+ \d+, #\d+ \d+$/.test(await said()));
      const lines = () => chart.locator("path[data-node]").evaluateAll((all) => all.map((line) => line.getAttribute("d")));
      const drawn = await lines();
      assert.equal(drawn.length, 3);
      await until("lines that moved", async () => (await lines()).every((line, at) => line && line !== drawn[at]));
    }
    const opened = watches.length;
    library.prefer(((await library.leader()) + 1) % 3);
    await until("another stream", () => watches.length > opened);
    assert.ok(watches.at(-1) > watches[0], `it goes on where it was, by a token: ${watches}`);
    await admin.page.getByRole("button", { name: "Let this one lead" }).first().click();
    await admin.page.locator("[data-leader]", { hasNotText: before }).waitFor();
    await admin.close();
  });
});

/** Their card at the desk. */
async function person(desk, name) {
  await desk.page.getByRole("link", { name: "People" }).click();
  await desk.page.getByLabel("Name, or part of it with *").fill(name);
  await desk.page.getByRole("button", { name: "Search" }).click();
  const card = desk.page.locator(`[data-person="users/${name}"]`);
  await card.waitFor();
  return card;
}

async function contentOf(download) {
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

async function focused(page) {
  return page.evaluate(() => {
    const here = document.activeElement;
    return here?.getAttribute("aria-label") ?? here?.textContent?.replace(/\s+/g, " ").trim() ?? "";
  });
}
