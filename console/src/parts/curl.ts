/** A request to the API as a command, for whoever has a token in `$LONGSHORE_TOKEN`. */
export function curl({ method, path, body }: { method: string; path: string; body?: unknown }): string {
  const parts = [`curl -X ${method} ${window.location.origin}${path}`, `  -H "Authorization: Bearer $LONGSHORE_TOKEN"`];
  if (body !== undefined)
    parts.push(`  -H 'Content-Type: application/json'`, `  -d '${JSON.stringify(body).replaceAll("'", `'\\''`)}'`);
  return parts.join(" \\\n");
}
