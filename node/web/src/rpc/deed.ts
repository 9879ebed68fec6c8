// One thing that somebody does: under way, done, or refused with a reason that is shown beside it.

import { createSignal } from "solid-js";
import { change } from "./link";
import { refusalOf } from "./refusal";
import { noteSessionOver } from "../session";
import { say } from "../shell/announce";
import { inWords } from "../words/refusals";

export function deed(zone: () => string) {
  const [isBusy, setBusy] = createSignal(false);
  const [problem, setProblem] = createSignal("");
  const perform = async <T>(attempt: (requestId: string) => Promise<T>, done?: string): Promise<T | undefined> => {
    setBusy(true);
    setProblem("");
    try {
      const answer = await change(attempt);
      if (done) say(done, "shown");
      return answer;
    } catch (error) {
      if (!noteSessionOver(error)) setProblem(inWords(refusalOf(error), zone()));
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { isBusy, problem, perform };
}
