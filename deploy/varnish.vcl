vcl 4.1;

import std;

# Varnish in front of Fanfare. Streams are piped, because they cannot be cached. Varnish has no TLS: put a TLS proxy in front of it.
#
#   varnishd -a :80 -f /etc/varnish/fanfare.vcl -s malloc,1m
#
# A pipe ends when neither side has sent anything for pipe_timeout (60 s): keep it above pingInterval (10 s).

backend fanfare {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 5s;
    # If a pipe cannot be opened, the client gets no answer. So a probe checks the server before, see vcl_recv.
    .probe = {
        .url = "/readyz";
        .interval = 1s;
        .timeout = 1s;
        .window = 2;
        .threshold = 1;
        .initial = 1;
    }
}

sub vcl_recv {
    # Varnish has appended the address of its client to X-Forwarded-For, so Fanfare, with Varnish in trustedProxies, believes that one.
    # What clients have written into these passes no further.
    unset req.http.Forwarded;
    unset req.http.X-Real-IP;
    if (req.url ~ "^/stream(\?|$)" && req.method == "GET") {
        if (!std.healthy(req.backend_hint)) {
            return (synth(503));
        }
        return (pipe);
    }
    return (pass);
}

sub vcl_pipe {
    # One stream for each connection: later requests on a piped connection would bypass this configuration.
    set bereq.http.Connection = "close";
    return (pipe);
}

sub vcl_synth {
    # An EventSource gives up permanently after 502, 503 and 504. While Fanfare is unavailable, make it try again instead.
    if (resp.status == 503 && req.url ~ "^/stream(\?|$)") {
        set resp.status = 200;
        set resp.http.Content-Type = "text/event-stream";
        set resp.http.Cache-Control = "no-store";
        # Without these headers a page of another origin gives up permanently. Pages that send cookies need their own origin by name.
        # The answer has nothing that others may not see.
        if (req.http.Origin) {
            set resp.http.Access-Control-Allow-Origin = req.http.Origin;
        } else {
            set resp.http.Access-Control-Allow-Origin = "*";
        }
        set resp.http.Access-Control-Allow-Credentials = "true";
        set resp.http.Vary = "Origin";
        synthetic("retry: 3000" + {"

"});
        return (deliver);
    }
}
