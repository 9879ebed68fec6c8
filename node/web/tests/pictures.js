// The page as it looks, on the sample campus with people in it: kept in docs/pictures and shown in the README.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openBrowser, visitor } from "./browser.js";
import { openLibrary, pause, until } from "./library.js";

const pictures = join(dirname(fileURLToPath(import.meta.url)), "../../../docs/pictures");
const HALL = "/seats/lindenhof/night-hall";
/** Who else is there. */
const SEATED = [3, 8, 9, 15, 22, 26, 27, 31, 38, 44, 50, 57].map((n) => `a-${String(n).padStart(3, "0")}`);

mkdirSync(pictures, { recursive: true });
const library = await openLibrary(null);
const browser = await openBrowser();
for (const [index, seat] of SEATED.entries()) {
  const one = await visitor(browser, library);
  await one.open(HALL);
  await one.register(`reader-${index}`);
  await one.book(seat);
  await one.close();
}
await fillTheWeek(library.terminal("admin"));
for (const [screen, colorScheme] of [["desktop", "light"], ["desktop", "dark"], ["phone", "light"], ["phone", "dark"]]) {
  const suffix = `${screen === "phone" ? "-phone" : ""}${colorScheme === "dark" ? "-dark" : ""}`;
  const one = await visitor(browser, library, screen, { colorScheme });
  const shot = (name) => one.page.screenshot({ path: join(pictures, `${name}${suffix}.png`) });
  await one.open(HALL);
  await one.register({ desktop: { light: "amy", dark: "ben" }, phone: { light: "cleo", dark: "dora" } }[screen][colorScheme]);
  const own = `a-0${{ desktop: { light: 12, dark: 13 }, phone: { light: 18, dark: 19 } }[screen][colorScheme]}`;
  await one.seat(own).click();
  await one.page.getByRole("button", { name: "Book this seat" }).waitFor();
  await pause(400);
  await shot("held");
  await one.page.getByRole("button", { name: "Book this seat" }).click();
  await one.page.locator('[data-phase="booked"]').waitFor();
  await one.page.getByRole("button", { name: "Done" }).click();
  await one.page.mouse.move(0, 0);
  await pause(400);
  await shot("seats");
  await one.page.getByRole("link", { name: "My day" }).click();
  await one.page.locator("[data-reservation]").waitFor();
  await pause(400);
  await shot("day");
  await one.close();
}
const desk = await visitor(browser, library);
const shot = (name) => desk.page.screenshot({ path: join(pictures, `${name}.png`) });
await desk.open("/staff/today");
await desk.logIn("admin");
await desk.page.locator("#staff-branch").selectOption({ label: "Lindenhof Central Library" });
await desk.page.locator("#staff-area").selectOption({ label: "Night Hall" });
await desk.page.locator(".stay").nth(12).waitFor();
await shot("desk");
await desk.open("/staff/reports");
await desk.page.locator("#staff-branch").selectOption({ label: "Orangery Reading Rooms" });
await desk.page.getByRole("button", { name: "Next 7 days" }).click();
await desk.page.locator(".numbers").getByRole("rowheader", { name: "Palm Room" }).waitFor();
// The record is a moment behind.
let told = "";
await until("the same report twice", async () => {
  const before = told;
  await desk.page.reload();
  await desk.page.getByRole("button", { name: "Next 7 days" }).click();
  await desk.page.locator(".numbers").getByRole("rowheader", { name: "Palm Room" }).waitFor();
  await pause(1_000);
  told = await desk.page.locator(".reports").innerText();
  return told === before;
});
await pause(300);
await shot("reports");
await desk.open("/kiosk/lindenhof");
await desk.page.locator(".tiles li").first().waitFor();
await pause(300);
await shot("kiosk");
await desk.open("/cluster");
await rush();
await shot("cluster");
await browser.close();
await library.close();

/** A busy minute, in the middle of which a follower loses its power, and catches up once it is back. */
async function rush() {
  const admin = library.terminal("admin");
  const at = (hour) => `${new Date(Date.now() + 9 * 86_400_000).toISOString().slice(0, 10)} ${hour}:00`;
  const book = (seat) => ["reserve", `lindenhof/a-0${seat}`, "--for", `scholar-${seat}`, "--from", at(14), "--to", at(16)];
  const over = Date.now() + 60_000;
  setTimeout(async () => library.kill(((await library.leader()) + 1) % 3), 30_000);
  for (let seat = 10; seat < 60 && Date.now() < over; seat++) {
    await admin([...book(seat), "--exempt", "--reason", "A rush"]);
    await pause(400 + 900 * Math.abs(Math.sin(seat)));
  }
}

/** A week of bookings in a branch of its own, as they would come in: fuller at midday, and the nearer the exams are. */
async function fillTheWeek(admin) {
  const atOnce = 4;
  await admin(["login", "admin", "--password-stdin"], library.password("admin"));
  const names = Array.from({ length: 90 }, (_, index) => `scholar-${index}`);
  const wishes = [];
  // The same picture every time.
  let seed = 7;
  const draw = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let day = 1; day <= 6; day++) {
    const date = new Date(Date.now() + day * 86_400_000).toISOString().slice(0, 10);
    const at = (hour) => `${date} ${String(hour).padStart(2, "0")}:00`;
    for (const name of names) {
      for (const [earliest, hours] of [[9, 2 + Math.floor(draw() * 3)], [13, 2 + Math.floor(draw() * 3)]]) {
        if (draw() > 0.35 + 0.08 * day) continue;
        const start = earliest + Math.floor(draw() * 3);
        const end = Math.min(start + hours, earliest === 9 ? 13 : 19);
        const area = ["citrus-room", "citrus-room", "palm-room", "potting-shed"][Math.floor(draw() * 4)];
        wishes.push(["--area", area, "--for", name, "--from", at(start), "--to", at(end)]);
      }
    }
  }
  const inTurn = async (queue, deed) => {
    const work = async () => {
      for (let one = queue.shift(); one; one = queue.shift()) await deed(one);
    };
    await Promise.all(Array.from({ length: atOnce }, work));
  };
  await inTurn([...names], (name) => library.terminal(name)(["register", name, "--password-stdin"], "a good long password"));
  const booked = ["reserve", "--branch", "orangery", "--exempt", "--reason", "A group that comes every week"];
  // What does not fit the hours or the room is refused, as it would be.
  await inTurn(wishes, (wish) => admin([...booked, ...wish]));
}
