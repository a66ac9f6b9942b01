import { expect, test } from "vitest";
import { check, commandLine, type Draft, words } from "./draft";

const EMPTY: Draft = {
  image: "",
  name: "",
  machine: "",
  gpus: "0",
  model: "",
  ports: "",
  lan: false,
  env: "",
  command: "",
  memory: "",
  cpus: "",
  hours: "",
  volumes: "",
  restart: "no",
  tty: false,
};

test("what is typed becomes what is asked for, and its command line", () => {
  const { body, wrong } = check({
    ...EMPTY,
    image: "hello:1",
    name: "box",
    gpus: "2",
    model: "A100",
    ports: "8000, 8080:80 53/udp",
    env: "A=1\nB=x=y",
    command: `sh -c "echo 'a b'"`,
    memory: "2g",
    cpus: "1.5",
    hours: "2",
    restart: "on_failure",
    tty: true,
    volumes: "data:/data\nset:/set:ro",
  });
  expect(wrong).toEqual({});
  expect(body).toMatchObject({
    image: "hello:1",
    name: "box",
    gpus: { count: 2, model: "A100" },
    env: { A: "1", B: "x=y" },
    command: ["sh", "-c", "echo 'a b'"],
    memory_bytes: 2 ** 31,
    tty: true,
    cpu_millis: 1500,
    max_duration_secs: 7200,
  });
  expect(body.ports).toEqual([
    { container: 8000, protocol: "tcp", bind: "loopback" },
    { container: 80, host: 8080, protocol: "tcp", bind: "loopback" },
    { container: 53, protocol: "udp", bind: "loopback" },
  ]);
  expect(commandLine(body)).toBe(
    `longshore container run hello:1 --name box --publish 8000 --publish 8080:80 --publish 53/udp --env A=1 --env B=x=y --volume data:/data --volume set:/set:ro --gpus 2 --gpu-model A100 --restart on-failure --tty --memory 2g --cpus 1.5 --max-duration 7200s -- sh -c 'echo '\\''a b'\\'''`,
  );
});

test("what cannot be read is named", () => {
  expect(check({ ...EMPTY, ports: "80000 abc", env: "novalue", memory: "much", cpus: "-1" }).wrong).toEqual({
    ports: "port",
    env: "env",
    memory: "size",
    cpus: "cores",
  });
});

test("a command is split as a shell splits it", () => {
  expect(words(`a "b c" d\\ e '' "q\\"x"`)).toEqual(["a", "b c", "d e", "", 'q"x']);
});
