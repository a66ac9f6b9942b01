/**
 * The one event stream of a browser. The tab that holds a lock reads it and tells the others; when that tab closes, another
 * takes the lock. What happened goes into the query cache, so that pages show it without knowing of it.
 */
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import type { Page } from "./client";
import { follow, type Link } from "./stream";

const NAME = "longshore-events";

type Message = { type: "event"; name: string; data: string } | { type: "link"; link: Link };

let current: Link = { state: "connecting" };
const listeners = new Set<() => void>();

function setLink(link: Link) {
  current = link;
  for (const listener of listeners) listener();
}

/** How the event stream does. */
export const useLink = (): Link =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );

/** Begins to watch; returns how to end it. */
export function watchEvents(client: QueryClient): () => void {
  const over = new AbortController();
  const channel = new BroadcastChannel(NAME);
  const news = new News(client);

  const take = (message: Message) => {
    if (message.type === "link") {
      setLink(message.link);
      if (message.link.state === "waiting") news.begin();
    } else news.take(message.name, message.data);
  };
  channel.onmessage = (event: MessageEvent<Message>) => take(event.data);

  const lead = () =>
    follow(
      {
        url: () => "/api/v1/events",
        onEvent: ({ name, data }) => tell({ type: "event", name, data }),
        onLink: (link) => tell({ type: "link", link }),
      },
      over.signal,
    );
  const tell = (message: Message) => {
    take(message);
    channel.postMessage(message);
  };

  // Without locks (a page that did not come over TLS from elsewhere) each tab reads for itself.
  if (navigator.locks) {
    // Whoever waits for the lock hears from the tab that has it; what came before is read from the API.
    setLink({ state: "open" });
    navigator.locks.request(NAME, { signal: over.signal }, lead).catch(() => {});
  } else lead().catch(() => {});

  return () => {
    over.abort();
    channel.close();
  };
}

/** What names a row of a kind in the keys of queries (see queries.ts). */
const NAMES = {
  container: "id",
  build: "id",
  image: "id",
  machine: "machine_id",
  namespace: "name",
  workload: "id",
  run: "id",
} as const;
type Kind = keyof typeof NAMES;
type Row = Partial<Record<(typeof NAMES)[Kind], number | string | null>>;
const isKind = (name: string): name is Kind => name in NAMES;

/** What is read again when it changed, because its pages show more than is told. */
const READ_AGAIN: readonly string[] = ["release"];

/** Brings what happened into the cache. */
class News {
  /** Before `listed` comes, what is told is what is there, and no news. */
  private isListing = true;
  private stale = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly client: QueryClient) {}

  /** The stream begins anew: whatever went away in between was not told of. */
  begin() {
    this.isListing = true;
  }

  take(name: string, data: string) {
    if (name === "listed") {
      this.isListing = false;
      for (const kind of [...Object.keys(NAMES), ...READ_AGAIN]) this.refresh(kind);
    } else if (name === "removed") {
      const { kind, id }: { kind: string; id: string } = JSON.parse(data);
      // Namespaces go by their names, which is not what is told of one that is gone.
      this.client.invalidateQueries({ queryKey: kind === "namespace" ? [kind] : [kind, id] });
      this.refresh(kind);
    } else if (isKind(name)) this.show(name, data);
    else if (READ_AGAIN.includes(name)) {
      const { id }: { id: string } = JSON.parse(data);
      this.client.invalidateQueries({ queryKey: [name, id] });
      this.refresh(name);
    }
  }

  private show(kind: Kind, data: string) {
    const row: Row = JSON.parse(data);
    const name = NAMES[kind];
    const id = row[name];
    if (id === undefined || id === null) return;
    this.client.setQueryData([kind, String(id)], row);
    let isListed = false;
    this.client.setQueriesData<Page<Row>>({ queryKey: [`${kind}s`] }, (page) => {
      const at = page?.data.findIndex((it) => it[name] === id) ?? -1;
      if (!page || at < 0) return page;
      isListed = true;
      return { ...page, data: page.data.with(at, row) };
    });
    // Pods are told of through what they belong to.
    if (kind === "workload" && !this.isListing) this.refresh("pod");
    // What is being read just now may be older than this news, and would come after it.
    const isBeingRead = this.client.isFetching({ queryKey: [`${kind}s`] }) > 0;
    if ((!isListed && !this.isListing) || isBeingRead) this.refresh(kind);
    if (this.client.isFetching({ queryKey: [kind, String(id)], exact: true }) > 0)
      this.client.invalidateQueries({ queryKey: [kind, String(id)], exact: true });
  }

  /** Lists of this kind are read again, many changes at a time. */
  private refresh(kind: string) {
    this.stale.add(kind);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      for (const kind of this.stale) this.client.invalidateQueries({ queryKey: [`${kind}s`] });
      if (this.stale.has("container"))
        for (const key of ["gpus", "queue", "quota", "dependents"]) this.client.invalidateQueries({ queryKey: [key] });
      if (this.stale.has("image")) this.client.invalidateQueries({ queryKey: ["dependents"] });
      this.stale.clear();
    }, 300);
  }
}
