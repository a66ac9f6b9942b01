/** The log of something that takes long: followed from its beginning to its end, over broken connections. */
import { useEffect, useRef, useState } from "react";
import { follow, type Link } from "../api/stream";
import { LogModel } from "./model";

/** Follows `url`; `onState` is given the thing itself, whenever it changed, and at the end. */
export function useOperationLog(url: string, onState: (data: string, isEnd: boolean) => void) {
  const [model] = useState(() => new LogModel());
  const [link, setLink] = useState<Link>({ state: "connecting" });
  const tell = useRef(onState);
  tell.current = onState;
  useEffect(() => {
    const over = new AbortController();
    model.clear();
    follow(
      {
        url: () => url,
        last: "end",
        onLink: setLink,
        onEvent: ({ name, data }) => {
          if (name === "log") {
            const chunk: { text: string } = JSON.parse(data);
            model.push(chunk.text);
          } else if (name === "state" || name === "end") tell.current(data, name === "end");
        },
      },
      over.signal,
    );
    return () => over.abort();
  }, [url, model]);
  return { model, link };
}
