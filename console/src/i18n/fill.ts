/** Fills the holes of a sentence: `{count}` is the value itself, `{count|image|images}` the word that goes with it. */
export type Values = Record<string, string | number>;

export const fill = (sentence: string, values: Values): string =>
  sentence.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (whole, name: string, one?: string, many?: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    if (one === undefined || many === undefined) return String(value);
    return String(value) === "1" ? one : many;
  });
