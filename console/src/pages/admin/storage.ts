/** What images take in the registry: a layer that several share lies there once. */
import type { Image } from "../../api/client";

export interface Storage {
  total: number;
  owners: { owner: string; images: number; bytes: number }[];
}

/** Together and for each owner, who holds most first. What owners share counts for each of them, and once in the total. */
export function storageOf(images: Pick<Image, "owner" | "layers">[]): Storage {
  const all = new Map<string, number>();
  const owners = new Map<string, { images: number; layers: Map<string, number> }>();
  for (const image of images) {
    const own = owners.get(image.owner) ?? { images: 0, layers: new Map() };
    owners.set(image.owner, own);
    own.images += 1;
    for (const { digest, size_bytes } of image.layers) {
      all.set(digest, size_bytes);
      own.layers.set(digest, size_bytes);
    }
  }
  const sum = (layers: Map<string, number>) => [...layers.values()].reduce((sum, bytes) => sum + bytes, 0);
  return {
    total: sum(all),
    owners: [...owners]
      .map(([owner, { images, layers }]) => ({ owner, images, bytes: sum(layers) }))
      .sort((one, other) => other.bytes - one.bytes),
  };
}
