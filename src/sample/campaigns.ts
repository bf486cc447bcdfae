/** A campaign of the sample service: the public fields, and internal ones that the gateway must not expose. */
export interface SampleCampaign {
  readonly id: string;
  readonly accountGroupId: string;
  readonly [field: string]: unknown;
}

const NAMES = ['Spring outreach', 'Dormant leads', 'Webinar invitations', 'Renewals Q1', 'Trade fair follow-up'];
const STATUSES = ['draft', 'scheduled', 'running', 'paused', 'completed', 'rate_limited'];
const LANGUAGES = ['en', 'de', 'fr', null];

const ACCOUNT_GROUPS = ['ag_north', 'ag_south'];

/** cmp_1 to cmp_10 in the first account group, cmp_11 to cmp_20 in the second. */
export const campaigns: readonly SampleCampaign[] = ACCOUNT_GROUPS.flatMap((accountGroupId, group) =>
  Array.from({ length: 10 }, (_, i) =>
    sampleCampaign(accountGroupId, `cmp_${group * 10 + i + 1}`, NAMES[i % NAMES.length] ?? '', i),
  ),
);

export function sampleCampaign(accountGroupId: string, id: string, name: string, i: number): SampleCampaign {
  const day = String((i % 27) + 1).padStart(2, '0');
  const status = STATUSES[i % STATUSES.length];
  return {
    id,
    accountGroupId,
    name,
    description: i % 3 === 0 ? null : `${name}: a sample campaign.`,
    status,
    selectedLeadCount: i * 25,
    includeConversationHistory: i % 2 === 0,
    autoCancelOnMessageReceived: i % 3 !== 0,
    outreachLanguage: LANGUAGES[i % LANGUAGES.length],
    createdAt: `2026-01-${day}T08:00:00.000Z`,
    updatedAt: `2026-02-${day}T09:30:00.000Z`,
    startedAt: status === 'running' ? `2026-02-${day}T10:00:00.000Z` : null,
    ...(status === 'rate_limited' && { rateLimitedUntil: `2026-03-${day}T00:00:00Z` }),
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
