/**
 * The YAML editor itself: CodeMirror in a shadow root, because there its styles come as sheets that the policy of the pages allows.
 * Loaded when a page first needs it.
 */
import {
  autocompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  startCompletion,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { type Diagnostic, linter, lintGutter } from "@codemirror/lint";
import { highlightSelectionMatches, openSearchPanel, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  placeholder,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { check, type Finding } from "./check";
import { placeAt } from "./place";
import { type Schema, schemaAt } from "./schema";

export interface EditorSettings {
  label: string;
  text: string;
  isReadOnly?: boolean;
  hint?: string;
  /** What a document with these lines may hold. */
  schema?: (lines: string[]) => Schema | undefined;
  /** What else may stand as the value of a key. */
  suggest?: (key: string, path: string[]) => string[];
  say: (finding: Finding) => string;
  onChange?: (text: string) => void;
}

const CHECK_MAX = 300_000;
const CHECK_PAUSE_MS = 400;

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--busy)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--text-soft)", fontStyle: "italic" },
  { tag: [tags.meta, tags.labelName, tags.typeName], color: "var(--warn)" },
]);

const looks = EditorView.theme({
  "&": { fontSize: "13px", color: "var(--text)", backgroundColor: "var(--surface)", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", overflow: "auto" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--text-soft)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--accent-soft)" },
  "&:not(.cm-focused) .cm-activeLine, &:not(.cm-focused) .cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--busy-soft)",
  },
  ".cm-placeholder": { color: "var(--text-soft)" },
  ".cm-selectionMatch, .cm-searchMatch": { backgroundColor: "var(--warn-soft)" },
  ".cm-panels": { backgroundColor: "var(--sunken)", color: "var(--text)", border: "none" },
  ".cm-panels input, .cm-panels button": {
    font: "inherit",
    color: "inherit",
    background: "var(--surface)",
    border: "1px solid var(--line-strong)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    boxShadow: "var(--shadow-high)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "14em" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-soft)", color: "var(--accent)" },
  ".cm-completionDetail": { color: "var(--text-soft)", fontStyle: "normal", marginLeft: "1em" },
  ".cm-diagnostic": { padding: "4px 8px", fontFamily: "var(--font)" },
  ".cm-specialChar": { color: "var(--bad)" },
});

/** Directions that turn text around, and signs without width, are shown as marks. */
const hidden = highlightSpecialChars({ addSpecialChars: /[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g });

export class YamlEditor {
  private readonly view: EditorView;
  private readonly access = new Compartment();
  private settings: EditorSettings;

  constructor(place: HTMLElement, settings: EditorSettings) {
    this.settings = settings;
    const root = place.shadowRoot ?? place.attachShadow({ mode: "open" });
    const fill = new CSSStyleSheet();
    fill.replaceSync(":host { display: block } :host > * { height: 100% }");
    root.adoptedStyleSheets = [fill];
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({ doc: settings.text, extensions: this.extensions() }),
    });
  }

  /** Other settings; a text that is not the one in here replaces it. */
  update(settings: EditorSettings) {
    const isOther = settings.isReadOnly !== this.settings.isReadOnly;
    this.settings = settings;
    if (isOther) this.view.dispatch({ effects: this.access.reconfigure(this.accessOf()) });
    const now = this.view.state.doc;
    if (settings.text !== now.toString())
      this.view.dispatch({ changes: { from: 0, to: now.length, insert: settings.text } });
  }

  focus() {
    this.view.focus();
  }

  find() {
    openSearchPanel(this.view);
  }

  dispose() {
    this.view.destroy();
  }

  private accessOf(): Extension {
    const { isReadOnly = false } = this.settings;
    // What is only read can still be reached, searched and copied.
    return [
      EditorState.readOnly.of(isReadOnly),
      isReadOnly ? [] : [autocompletion({ override: [(context) => this.complete(context)] }), closeBrackets()],
    ];
  }

  private extensions(): Extension[] {
    const { label, hint } = this.settings;
    return [
      lineNumbers(),
      highlightActiveLineGutter(),
      hidden,
      history(),
      foldGutter(),
      drawSelection(),
      indentUnit.of("  "),
      EditorState.tabSize.of(2),
      bracketMatching(),
      highlightActiveLine(),
      highlightSelectionMatches(),
      search({ top: true }),
      yaml(),
      syntaxHighlighting(colours),
      looks,
      lintGutter(),
      linter((view) => this.diagnose(view), { delay: CHECK_PAUSE_MS }),
      keymap.of([
        ...closeBracketsKeymap,
        ...defaultKeymap,
        ...searchKeymap,
        ...historyKeymap,
        ...foldKeymap,
        ...completionKeymap,
      ]),
      this.access.of(this.accessOf()),
      hint ? placeholder(hint) : [],
      window.matchMedia("(max-width: 820px)").matches ? EditorView.lineWrapping : [],
      EditorView.contentAttributes.of({
        "aria-label": label,
        tabindex: "0",
        spellcheck: "false",
        autocapitalize: "off",
      }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) this.settings.onChange?.(update.state.doc.toString());
      }),
    ];
  }

  private diagnose(view: EditorView): Diagnostic[] {
    const { schema, say, isReadOnly } = this.settings;
    const text = view.state.doc.toString();
    if (isReadOnly || text.length > CHECK_MAX) return [];
    const length = text.length;
    return check(text, schema ?? (() => undefined)).map((finding) => ({
      from: Math.min(finding.from, length),
      to: Math.min(finding.to, length),
      severity: finding.kind === "syntax" ? "error" : "warning",
      message: say(finding),
      actions:
        finding.kind === "meant"
          ? [
              {
                name: finding.text,
                apply: (view, from, to) => view.dispatch({ changes: { from, to, insert: finding.text } }),
              },
            ]
          : undefined,
    }));
  }

  private complete(context: CompletionContext): CompletionResult | null {
    const { schema, suggest } = this.settings;
    const { state, pos, explicit } = context;
    const line = state.doc.lineAt(pos);
    const place = placeAt(state.doc.toString().split("\n"), line.number - 1, pos - line.from);
    const root = schema?.(place.lines);
    if (!explicit && place.word === "" && place.key === undefined) return null;
    if (/^["'#[{&*|>]/.test(place.word)) return null;
    const from = pos - place.word.length;
    if (place.key !== undefined) {
      const child = schemaAt(root, [...place.path, place.key]);
      const choices = child?.choices ?? (child?.type === "boolean" ? ["true", "false"] : []);
      const further = suggest?.(place.key, place.path) ?? [];
      const options = [...new Set([...further, ...choices])].map((label): Completion => ({ label, type: "constant" }));
      return options.length > 0 ? { from, options, validFor: /^[^\s]*$/ } : null;
    }
    const here = schemaAt(root, place.path);
    const options = Object.entries(here?.properties ?? {}).map(
      ([label, child]): Completion => ({
        label,
        type: "property",
        detail:
          child.type === "object" || child.type === "array" ? "" : (child.description?.slice(0, 60) ?? child.type),
        info: (child.description?.length ?? 0) > 60 ? child.description : undefined,
        boost: here?.required?.includes(label) ? 1 : 0,
        apply: (view, _completion, from, to) => {
          const below = " ".repeat(place.column + 2);
          const end = child.type === "array" ? `:\n${below}- ` : child.type === "object" ? `:\n${below}` : ": ";
          const rest = view.state.doc.sliceString(to, view.state.doc.lineAt(to).to);
          const insert = rest.trimStart().startsWith(":") ? label : label + end;
          view.dispatch({
            changes: { from, to, insert },
            selection: { anchor: from + insert.length },
            userEvent: "input.complete",
          });
          // What comes next has hints too.
          startCompletion(view);
        },
      }),
    );
    return options.length > 0 ? { from, options, validFor: /^[\w./-]*$/ } : null;
  }
}
