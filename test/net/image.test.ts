import { describe, expect, it } from "@jest/globals";
import { readImage } from "../../src/net/image.ts";

const read = (text: string) => readImage(Buffer.from(text));
const svg = (inside = "") => `<svg xmlns="http://www.w3.org/2000/svg">${inside}</svg>`;

describe("an image", () => {
  it.each([
    ["89504e470d0a1a0a0000000d49484452", "image/png"],
    ["52494646000000005745425056503820", "image/webp"],
    ["ffd8ffe000104a46", "image/jpeg"],
  ])("is known by its first bytes: %s", (hex, type) => {
    expect(readImage(Buffer.from(hex, "hex"))).toEqual({ type });
  });

  it("may be an SVG as programs write them", () => {
    const doctype =
      '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">';
    const inside =
      '<style>.a { fill: url(#b) }</style><use xlink:href="#c"/><image href="data:image/png;base64,AA=="/><a id="icon = on"/>';
    for (const text of [
      svg(inside),
      `\uFEFF<?xml version="1.0" encoding="utf-8"?>\n<!-- made by a program -->\n${doctype}\n<!-- again -->${svg(inside)}`,
    ]) {
      expect(read(text)).toEqual({ type: "image/svg+xml" });
    }
  });

  it.each([
    "",
    "GIF89a",
    "<!doctype html><svg></svg>",
    "<html><svg></svg></html>",
    `text ${svg()}`,
    `<!DOCTYPE svg [<!ENTITY a "b">]>${svg("&a;")}`,
    "<!-- <svg> -->",
    "<svgs></svgs>",
  ])("is none: %j", (text) => {
    expect(read(text)).toEqual({ problem: "is neither SVG, PNG, WebP nor JPEG" });
  });

  it.each([
    ["<script/>", "has a script"],
    ["<svg:SCRIPT>", "has a script"],
    ["<g\tonload = 'a()'/>", "has a script"],
    ['<g id="a"onclick="a()"/>', "has a script"],
    ['<a href=" javascript:a()"/>', "has a script"],
    ["<foreignObject/>", "has something else than a drawing in it"],
    ['<image href="https://a.example/b.png"/>', "names another file"],
    ["<image xlink:href=//a.example/b.png />", "names another file"],
    ['<use href="b.svg#c"/>', "names another file"],
    ['<image href="&#104;ttps://a.example/b.png"/>', "names another file"],
    ['<image href="data:image/svg+xml,a"/>', "names another file"],
    ['<g style="fill: url( &quot;https://a.example)"/>', "names another file"],
    ["<style>@import 'a.css'</style>", "names another file"],
  ])("that is an SVG is refused with %j", (inside, problem) => {
    expect(read(svg(inside))).toEqual({ problem: `is an SVG that ${problem}` });
  });

  it("that begins like an SVG and is no text is none", () => {
    expect(readImage(Buffer.concat([Buffer.from(svg()), Buffer.from([0xff])]))).toHaveProperty("problem");
  });
});
