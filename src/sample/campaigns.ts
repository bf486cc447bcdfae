/** A campaign of the sample service: the public fields, and internal ones that the gateway must not expose. */
export interface SampleCampaign {
  readonly id: string;
  readonly accountGroupId: string;
  readonly [field: string]: unknown;
}

/** A fault that the sample service injects for an id. */
export type Fault =
  | 'slow'
  | 'silent'
  | 'error'
  | 'unavailable'
  | 'invalid-json'
  | 'truncated'
  | 'reset'
  | 'html'
  | 'redirect'
  | 'too-large'
  | 'incomplete'
  | 'gone';

export const faults: Readonly<Record<string, Fault>> = {
  cmp_slow: 'slow',
  cmp_silent: 'silent',
  cmp_error: 'error',
  cmp_unavailable: 'unavailable',
  cmp_invalid_json: 'invalid-json',
  cmp_truncated: 'truncated',
  cmp_reset: 'reset',
  cmp_html: 'html',
  cmp_redirect: 'redirect',
  cmp_too_large: 'too-large',
  cmp_incomplete: 'incomplete',
  cmp_gone: 'gone',
};

const NAMES = [
  'Spring outreach',
  'Dormant leads, second try',
  'Webinar invitations',
  'Renewals Q1',
  'Trade fair follow-up',
  'Partner introductions',
  'Free trial, day 10',
  'Win-back',
  'Product launch',
  'Survey reminders',
];
const STATUSES = ['draft', 'scheduled', 'running', 'paused', 'completed', 'rate_limited'];
const LANGUAGES = ['en', 'de', 'fr', null];

const ACCOUNT_GROUPS = ['ag_north', 'ag_south'];

/** Twenty campaigns in two account groups. */
export const campaigns: readonly SampleCampaign[] = ACCOUNT_GROUPS.flatMap((accountGroupId, group) =>
  NAMES.map((name, i) => sampleCampaign(accountGroupId, `cmp_${group * NAMES.length + i + 1}`, name, i)),
);

export function sampleCampaign(accountGroupId: string, id: string, name: string, i: number): SampleCampaign {
  const day = String((i % 27) + 1).padStart(2, '0');
  const running = STATUSES[i % STATUSES.length] === 'running';
  return {
    id,
    accountGroupId,
    name,
    description: i % 3 === 0 ? null : `${name}: a sample campaign.`,
    status: STATUSES[i % STATUSES.length],
    selectedLeadCount: i * 25,
    includeConversationHistory: i % 2 === 0,
    autoCancelOnMessageReceived: i % 3 !== 0,
    outreachLanguage: LANGUAGES[i % LANGUAGES.length],
    createdAt: `2026-01-${day}T08:00:00.000Z`,
    updatedAt: `2026-02-${day}T09:30:00.000Z`,
    startedAt: running ? `2026-02-${day}T10:00:00.000Z` : null,
    ...(STATUSES[i % STATUSES.length] === 'rate_limited' && { rateLimitedUntil: `2026-03-${day}T00:00:00Z` }),
    internalNotes: 'Not for customers.',
    owner: { email: 'owner@example.test', apiToken: 'sample-token-that-must-not-leave' },
    workflowDefinition: workflow(id),
    steps: [{ workflowDefinition: workflow(`${id}-step`) }],
  };
}

/** About 12 KB of workflow definition. */
function workflow(id: string) {
  const nodes = Array.from({ length: 60 }, (_, i) => ({
    id: `${id}-node-${i}`,
    type: i % 4 === 0 ? 'condition' : 'message',
    config: { template: `Hello {{firstName}}, ${'this is the secret recipe. '.repeat(4)}`, delayMinutes: i * 30 },
  }));
  return { nodes, edges: nodes.slice(1).map((_, i) => ({ from: i, to: i + 1 })) };
}
