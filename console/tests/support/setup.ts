/** Starts the one server for all journeys, and removes what they leave in the engine. */
import type { TestProject } from "vitest/node";
import { ADMIN_PASSWORD, eventually, TestServer } from "./server";

declare module "vitest" {
  interface ProvidedContext {
    url: string;
  }
}

export default async function setup(project: TestProject) {
  const server = new TestServer();
  await server.start();
  project.provide("url", server.url);
  return async () => {
    await removeContainers(server.url);
    await server.stop();
    server.clean();
  };
}

async function removeContainers(url: string) {
  const json = { "content-type": "application/json" };
  const login = await fetch(`${url}/api/auth/login`, {
    method: "POST",
    headers: json,
    body: JSON.stringify({ account: "admin", password: ADMIN_PASSWORD }),
  });
  const { access_token }: { access_token: string } = await login.json();
  const headers = { authorization: `Bearer ${access_token}` };
  const list = async () => {
    const { data }: { data: { id: number }[] } = await (
      await fetch(`${url}/api/v1/containers?all=true&limit=500`, { headers })
    ).json();
    return data;
  };
  for (const { id } of await list()) await fetch(`${url}/api/v1/containers/${id}`, { method: "DELETE", headers });
  await eventually("the containers are gone", async () => (await list()).length === 0, 60);
}
