import { expect, test } from "vitest";
import { storageOf } from "./storage";

const layer = (digest: string, size_bytes: number) => ({ digest, size_bytes });

test("a layer that images share is counted once", () => {
  const images = [
    { owner: "alice", layers: [layer("base", 100), layer("a", 5)] },
    { owner: "alice", layers: [layer("base", 100), layer("b", 7)] },
    { owner: "bob", layers: [layer("base", 100)] },
  ];
  expect(storageOf(images)).toEqual({
    total: 112,
    owners: [
      { owner: "alice", images: 2, bytes: 112 },
      { owner: "bob", images: 1, bytes: 100 },
    ],
  });
  expect(storageOf([])).toEqual({ total: 0, owners: [] });
});
