/** Markdown that others wrote: no markup of theirs, no pictures from elsewhere, no links but to pages over HTTP. */
import { Component, type ReactNode } from "react";
import Markdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { isHeavy, linkOf, tame } from "./tame";

const components: Components = {
  a: ({ href, children }) => {
    const to = linkOf(href);
    if (!to) return <span>{children}</span>;
    return (
      <a href={to} target="_blank" rel="noopener noreferrer nofollow" title={to}>
        {children}
      </a>
    );
  },
  // A picture from elsewhere would tell its server who reads this.
  img: ({ alt }) => (alt ? <span className="soft">[{alt}]</span> : null),
  // The page has its own first heading.
  h1: ({ children }) => <h2>{children}</h2>,
  table: ({ children }) => (
    <div className="table-box">
      <table className="table">{children}</table>
    </div>
  ),
  // biome-ignore lint/a11y/noNoninteractiveTabindex: what can be scrolled must be reached by the keyboard
  pre: ({ children }) => <pre tabIndex={0}>{children}</pre>,
};

const plugins = [remarkGfm];

/** Shows the text itself where drawing it fails. */
class OrPlain extends Component<{ text: string; children: ReactNode }, { hasFailed: boolean }> {
  override state = { hasFailed: false };
  static getDerivedStateFromError() {
    return { hasFailed: true };
  }
  override render() {
    return this.state.hasFailed ? <PlainText text={this.props.text} /> : this.props.children;
  }
}

const PlainText = ({ text }: { text: string }) => <pre className="prose-plain">{text}</pre>;

export function MarkdownText({ text }: { text: string }) {
  const tamed = tame(text);
  if (isHeavy(tamed)) return <PlainText text={tamed} />;
  return (
    <OrPlain text={tamed}>
      <div className="prose" dir="auto">
        <Markdown remarkPlugins={plugins} components={components} skipHtml urlTransform={(url) => url}>
          {tamed}
        </Markdown>
      </div>
    </OrPlain>
  );
}
