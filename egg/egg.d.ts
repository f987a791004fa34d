// For Egg 2 and 3: import 'fanfare-egg/egg';
import 'egg';
import { Sse, SseAccess, SseConfig } from './index';

declare module 'egg' {
  interface Application {
    sse: Sse;
  }
  interface Agent {
    sse: SseAccess;
  }
  interface EggAppConfig {
    sse: SseConfig;
  }
}
