// For Egg 4: import 'fanfare-egg/egg4';
// Egg 4 has each type twice, for modules and for CommonJS: egg4.d.ts says the same for CommonJS.
// Controllers and services see the application as an EggCore, which agents are, too: those have only
// what is in SseAccess.
import '@eggjs/core';
import { Sse, SseConfig } from './index.js';

declare module '@eggjs/core' {
  interface EggCore {
    sse: Sse;
  }
  interface EggAppConfig {
    sse: SseConfig;
  }
}
