'use strict';

// egg4.d.ts adds app.sse to the types of Egg 4. A compiler keeps `import 'fanfare-egg/egg4'`: there has to be something to run.
