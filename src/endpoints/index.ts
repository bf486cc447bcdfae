import type { Endpoint } from './endpoint.ts';
import { type ReadCampaignSettings, readCampaign } from './read-campaign.ts';

export type EndpointSettings = ReadCampaignSettings;

/** All public endpoints. To add one, add a file to this folder and a line to this list. */
export function publicEndpoints(settings: EndpointSettings): readonly Endpoint[] {
  return [readCampaign(settings)];
}
