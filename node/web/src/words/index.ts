// The page in the language of whoever reads it. English comes with the page, the others when they are wanted.

import { createSignal } from "solid-js";
import { en } from "./en";

export type Words = typeof en;
export const LANGUAGES = { en: "English", fr: "Français", de: "Deutsch", zh: "中文" };
export type Language = keyof typeof LANGUAGES;

const [words, setWords] = createSignal<Words>(en);
const [language, setLanguage] = createSignal<Language>("en");
export { language };

/** The words of the page, as they are now. */
export const t = words;
/** For dates and numbers. English as most libraries of the world write it: the 24-hour clock, the day first. */
export const locale = () => (language() === "en" ? "en-GB" : language());

const others: { [key in Exclude<Language, "en">]: () => Promise<Words> } = {
  fr: async () => (await import("./fr")).fr,
  de: async () => (await import("./de")).de,
  zh: async () => (await import("./zh")).zh,
};

export async function speak(wanted: Language, how: "keep" | "for now" = "keep") {
  // First, for whoever is gone before the words are here.
  if (how === "keep") localStorage.setItem("language", wanted);
  setWords(() => en);
  if (wanted !== "en") {
    const found = await others[wanted]();
    setWords(() => found);
  }
  setLanguage(wanted);
  document.documentElement.lang = wanted;
}

const isLanguage = (text: string): text is Language => text in LANGUAGES;

/** What was chosen before, or else what the browser asks for. */
export function speakAsBefore() {
  const wishes = [localStorage.getItem("language") ?? "", ...navigator.languages.map((one) => one.slice(0, 2))];
  return speak(wishes.find(isLanguage) ?? "en", "for now");
}
