import { expect, test } from "vitest";
import { failedBuilds, failedRuns } from "./failures";

test("a failed build counts until something newer of the same name went well", () => {
  const builds = [
    { image: "alice/web:v1", state: "running" },
    { image: "alice/web:v1", state: "failed" },
    { image: "alice/api:v1", state: "failed" },
    { image: "alice/api:v1", state: "succeeded" },
  ] as const;
  expect(failedBuilds([...builds]).map((it) => it.image)).toEqual(["alice/api:v1"]);
});

test("a repository is told of by its last run alone", () => {
  const runs = [
    { id: 9, git_repo_id: 1, state: "failed" },
    { id: 8, git_repo_id: 1, state: "failed" },
    { id: 7, git_repo_id: 2, state: "succeeded" },
    { id: 6, git_repo_id: 2, state: "failed" },
  ] as const;
  expect(failedRuns([...runs]).map((it) => it.id)).toEqual([9]);
});
