import { mkdtempSync } from 'node:fs';
import path from 'node:path';

/** A new folder. It is removed when all tests have ended. */
export const createFolder = () => mkdtempSync(path.join(process.env['TEST_FOLDER'] ?? '', 'folder-'));
