/** The public fields of a campaign, without its id. */
export const publicFields = {
  name: 'Spring outreach',
  status: 'running',
  description: 'For all leads who opted in.',
  outreachLanguage: 'en',
  selectedLeadCount: 25,
  includeConversationHistory: true,
  autoCancelOnMessageReceived: true,
  createdAt: '2026-01-01T08:00:00.000Z',
  updatedAt: '2026-02-01T09:30:00.000Z',
  startedAt: null,
  rateLimitedUntil: null,
};
