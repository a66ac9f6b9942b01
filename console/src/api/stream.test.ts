import { expect, test } from "vitest";
import { pause } from "./backoff";
import { EventParser, type StreamEvent } from "./stream";

const STREAM = ': alive\n\nevent: log\ndata: {"a":1}\nid: 5\n\nevent: log\r\ndata: one\r\ndata: two\r\n\r\ndata\n\n';

test("events come out the same however the stream is cut", () => {
  const whole: StreamEvent[] = [
    { name: "log", data: '{"a":1}', id: "5" },
    { name: "log", data: "one\ntwo", id: "5" },
    { name: "message", data: "", id: "5" },
  ];
  for (let size = 1; size <= STREAM.length; size += 1) {
    const parser = new EventParser();
    const events: StreamEvent[] = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    expect(events).toEqual(whole);
  }
});

test("pauses grow, have an end, and are not the same for everybody", () => {
  expect(pause(1, () => 0)).toBe(500);
  expect(pause(1, () => 1)).toBe(1000);
  expect(pause(50, () => 1)).toBe(30_000);
  expect(pause(6, () => 0.2)).not.toBe(pause(6, () => 0.8));
});
