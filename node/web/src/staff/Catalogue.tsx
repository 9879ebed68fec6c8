// The catalogue out of the cluster and into it again. Before it is imported, what would change is shown, seat by seat.

import { type JsonValue, fromJson, toJson } from "@bufbuild/protobuf";
import { createSignal, For, Show } from "solid-js";
import { type Catalog, CatalogSchema, type ImportCatalogResponse } from "../gen/carrel/v1/catalog_pb";
import { catalog } from "../rpc/clients";
import { refreshPlaces } from "../seats/places";
import { Problem } from "../shell/Problem";
import { download } from "../shell/download";
import { ownZone } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";

/** More changes than anybody reads are counted. */
const SHOWN_MAX = 40;

interface Difference {
  kind: "added" | "removed" | "changed";
  what: string;
}

interface Preview {
  wanted: Catalog;
  revision: bigint;
  differences: Difference[];
  outcome: ImportCatalogResponse;
}

/** Everything in a catalogue that has a name, with what is said about it alone. */
function parts(whole: Catalog): Map<string, string> {
  const found = new Map<string, string>();
  const { policies = [], branches = [] } = toJson(CatalogSchema, whole) as { [key: string]: { id: string }[] };
  for (const policy of policies) found.set(`policies/${policy.id}`, JSON.stringify(policy));
  for (const branch of branches as { id: string; areas?: { id: string; seats?: { id: string }[] }[] }[]) {
    const { areas = [], ...alone } = branch;
    found.set(branch.id, JSON.stringify(alone));
    for (const { seats = [], ...area } of areas) {
      found.set(`${branch.id}/${area.id}`, JSON.stringify(area));
      for (const seat of seats) found.set(`${branch.id}/${area.id}/${seat.id}`, JSON.stringify(seat));
    }
  }
  return found;
}

export function differences(before: Catalog, after: Catalog): Difference[] {
  const [old, wanted] = [parts(before), parts(after)];
  const gone = [...old.keys()].filter((what) => !wanted.has(what));
  const news = [...wanted].filter(([what, said]) => old.get(what) !== said);
  return [
    ...gone.map((what): Difference => ({ kind: "removed", what })),
    ...news.map(([what]): Difference => ({ kind: old.has(what) ? "changed" : "added", what })),
  ];
}

export default function Catalogue() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [fault, setFault] = createSignal("");
  const [preview, setPreview] = createSignal<Preview>();
  const take = async () => {
    const answer = await perform(() => catalog.exportCatalog({}));
    if (!answer?.catalog) return;
    const text = JSON.stringify(toJson(CatalogSchema, answer.catalog), null, 1);
    download(`catalogue-${answer.revision}.json`, "application/json", [text]);
  };
  const read = async (file: File | undefined) => {
    setPreview(undefined);
    setFault("");
    if (!file) return;
    let wanted: Catalog;
    try {
      wanted = fromJson(CatalogSchema, JSON.parse(await file.text()) as JsonValue);
    } catch {
      setFault(t().noCatalogue);
      return;
    }
    const now = await perform(() => catalog.exportCatalog({}));
    if (!now?.catalog) return;
    const outcome = await perform((requestId) =>
      catalog.importCatalog({ requestId, catalog: wanted, expectedRevision: now.revision, validateOnly: true }),
    );
    if (!outcome) return;
    setPreview({ wanted, revision: now.revision, differences: differences(now.catalog, wanted), outcome });
  };
  const carryOut = async () => {
    const { wanted, revision } = preview()!;
    const done = await perform(
      (requestId) => catalog.importCatalog({ requestId, catalog: wanted, expectedRevision: revision }),
      t().imported,
    );
    if (!done) return;
    setPreview(undefined);
    void refreshPlaces();
  };
  const count = (kind: Difference["kind"]) => preview()!.differences.filter((one) => one.kind === kind).length;
  return (
    <section class="stack panel">
      <h2>{t().desk.catalogue}</h2>
      <div class="actions">
        <button type="button" class="plain" disabled={isBusy()} onClick={() => void take()}>
          {t().download}
        </button>
      </div>
      <div class="field">
        <label for="catalogue-file">{t().importFile}</label>
        <input
          id="catalogue-file"
          type="file"
          accept=".json,application/json"
          onChange={(e) => void read(e.target.files?.[0])}
        />
      </div>
      <Problem text={problem() || fault()} />
      <Show when={preview()}>
        {(here) => (
          <>
            <p class="verdict" role="status">
              {t().importMeans(count("added"), count("changed"), count("removed"), here().outcome.displacedCount)}
            </p>
            <ul class="differences">
              <For each={here().differences.slice(0, SHOWN_MAX)}>
                {(one) => (
                  <li class={one.kind}>
                    {t().differences[one.kind]} <code>{one.what}</code>
                  </li>
                )}
              </For>
              <Show when={here().differences.length > SHOWN_MAX}>
                <li>{t().andMore(here().differences.length - SHOWN_MAX)}</li>
              </Show>
            </ul>
            <button type="button" class="danger" disabled={isBusy()} onClick={() => void carryOut()}>
              {t().doImport}
            </button>
          </>
        )}
      </Show>
    </section>
  );
}
