// The types of what vendor.sh takes from Lit: only what is used, by hand.
export class LitElement extends HTMLElement {
  static properties: Record<string, object>;
  createRenderRoot(): unknown;
  connectedCallback(): void;
  disconnectedCallback(): void;
  willUpdate(changed: Map<string, unknown>): void;
  updated(changed: Map<string, unknown>): void;
  firstUpdated(changed: Map<string, unknown>): void;
  requestUpdate(name?: string, old?: unknown): void;
  get updateComplete(): Promise<boolean>;
  get hasUpdated(): boolean;
  render(): unknown;
}
export function html(strings: TemplateStringsArray, ...values: unknown[]): unknown;
export function render(value: unknown, container: HTMLElement): unknown;
export const nothing: unique symbol;
export function repeat<T>(items: Iterable<T>, key: (item: T, index: number) => unknown, template?: (item: T, index: number) => unknown): unknown;
export function live(value: unknown): unknown;
