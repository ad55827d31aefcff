import type { LinearShape } from './architecture';

/** What a linear goes by within its layer: its role, and which expert's it is. */
export function linearKey({ role, expert }: Pick<LinearShape, 'role' | 'expert'>): string {
  return expert === undefined ? role : `${role}.${expert}`;
}
