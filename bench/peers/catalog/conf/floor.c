// The floor: one thread that accepts connections, sends the head, and on a publish writes the same frame once to each socket of
// the key. It does nothing else: it has no ids, no history, no heartbeat and no limits. Its cost is that of the kernel.
// Usage: floor PORT (on 127.0.0.1; GET /stream?connectKey=K, POST /publish?key=K)
//
// Compiled with -DFLOOR_TLS -lssl -lcrypto it is the floor with TLS: the same loop, with one SSL_write for each socket instead of
// one send. Its cost is that of the kernel and OpenSSL. Publishing is on a second port, without TLS.
// Usage: floor PORT PUBLISH-PORT CERTIFICATE KEY (both files in PEM)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef FLOOR_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { MAX_FD = 1 << 20, MAX_REQUEST = 4 << 20, KEYS = 1 << 16, FULL_MS = 10000 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "Connection: keep-alive\r\n\r\n";
static const char DONE[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
static const char NOT[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

struct key {
    struct key *next;
    char *name;
    int *fds, count, room;
};

// conn is a connection: with key, a stream at place in the key's fds; without, one whose requests are read into buf.
struct conn {
    struct key *key;
    int place, have, room;
    char *buf;
#ifdef FLOOR_TLS
    SSL *ssl; // NULL: without TLS
#endif
};

static struct key *keys[KEYS];
static struct conn *conns[MAX_FD];
static int ep;
#ifdef FLOOR_TLS
static SSL_CTX *tls;
#endif

static void *grow(void *p, size_t n) {
    p = realloc(p, n);
    if (!p) {
        fputs("floor: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static struct key *find_key(const char *name, int make) {
    unsigned h = 2166136261u;
    for (const char *c = name; *c; c++) h = (h ^ (unsigned char)*c) * 16777619u;
    struct key **at = &keys[h % KEYS];
    for (struct key *k = *at; k; k = k->next)
        if (!strcmp(k->name, name)) return k;
    if (!make) return NULL;
    struct key *k = grow(NULL, sizeof *k);
    *k = (struct key){.next = *at, .name = strdup(name)};
    return *at = k;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// unescape decodes a value of the query in place, up to its end.
static char *unescape(char *s) {
    char *to = s, *from = s;
    for (; *from && *from != '&' && *from != ' '; from++) {
        if (*from == '%' && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
            *to++ = (char)(hex(from[1]) * 16 + hex(from[2]));
            from += 2;
        } else {
            *to++ = *from == '+' ? ' ' : *from;
        }
    }
    *to = 0;
    return s;
}

static void drop(int fd) {
    struct conn *c = conns[fd];
    if (c->key) {
        struct key *k = c->key;
        int last = k->fds[--k->count];
        k->fds[c->place] = last;
        conns[last]->place = c->place;
    }
#ifdef FLOOR_TLS
    SSL_free(c->ssl);
#endif
    free(c->buf);
    free(c);
    conns[fd] = NULL;
    close(fd);
}

// send_all returns 0 if the connection is broken, or full for FULL_MS. It waits for a full socket, because the floor must not lose
// anything.
static int send_all(int fd, const char *p, size_t n) {
#ifdef FLOOR_TLS
    SSL *ssl = conns[fd]->ssl;
    while (ssl) {
        ERR_clear_error();
        int w = SSL_write(ssl, p, (int)n); // no partial writes: all of it, or again
        if (w > 0) return 1;
        if (SSL_get_error(ssl, w) != SSL_ERROR_WANT_WRITE) return 0;
        struct pollfd full = {.fd = fd, .events = POLLOUT};
        if (poll(&full, 1, FULL_MS) <= 0) return 0;
    }
#endif
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        } else if (errno == EAGAIN) {
            struct pollfd full = {.fd = fd, .events = POLLOUT};
            if (poll(&full, 1, FULL_MS) <= 0) return 0;
        } else if (errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

static void publish(const char *name, const char *data, size_t n) {
    static char *frame;
    struct key *k = find_key(name, 0);
    if (!k) return;
    frame = grow(frame, n + 8);
    memcpy(frame, "data: ", 6);
    memcpy(frame + 6, data, n);
    memcpy(frame + 6 + n, "\n\n", 2);
    for (int i = k->count - 1; i >= 0; i--) { // downwards, because drop moves the last one to the place of the dropped one
        int fd = k->fds[i];
        if (!send_all(fd, frame, n + 8)) drop(fd);
    }
}

static void open_stream(int fd, char *name) {
    struct conn *c = conns[fd];
    struct key *k = find_key(name, 1);
    if (k->count == k->room) {
        k->room = k->room ? 2 * k->room : 1;
        k->fds = grow(k->fds, (size_t)k->room * sizeof *k->fds);
    }
    free(c->buf);
    c->buf = NULL;
    c->key = k;
    c->place = k->count;
    k->fds[k->count++] = fd;
    if (!send_all(fd, HEAD, sizeof HEAD - 1)) drop(fd);
}

// serve handles a request if it is complete. It returns the request's length, 0 if more bytes are needed, and -1 if the connection
// must no longer be read.
static int serve(int fd) {
    struct conn *c = conns[fd];
    c->buf[c->have] = 0;
    char *end = strstr(c->buf, "\r\n\r\n"), *at;
    if (!end) return 0;
    size_t head = (size_t)(end + 4 - c->buf), body = 0;
    if (!strncmp(c->buf, "GET /stream?", 12) && (at = strstr(c->buf, "connectKey="))) {
        open_stream(fd, unescape(at + 11));
        return -1;
    }
    if (strncmp(c->buf, "POST /publish?key=", 18)) {
        send_all(fd, NOT, sizeof NOT - 1);
        drop(fd);
        return -1;
    }
    if ((at = strcasestr(c->buf, "\r\nContent-Length:")) && at < end) body = strtoul(at + 17, NULL, 10);
    if (body > MAX_REQUEST || (size_t)c->have < head + body) return 0;
    publish(unescape(c->buf + 18), c->buf + head, body);
    return send_all(fd, DONE, sizeof DONE - 1) ? (int)(head + body) : (drop(fd), -1);
}

// receive is read, through TLS if the connection has it. It returns -1 and EAGAIN if there is nothing more.
static ssize_t receive(int fd, char *to, size_t room) {
#ifdef FLOOR_TLS
    SSL *ssl = conns[fd]->ssl;
    if (ssl) {
        ERR_clear_error();
        int n = SSL_read(ssl, to, (int)room), why; // the first ones make the handshake
        if (n > 0) return n;
        why = SSL_get_error(ssl, n);
        if (why == SSL_ERROR_ZERO_RETURN) return 0;
        errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
        return -1;
    }
#endif
    return read(fd, to, room);
}

// readable reads once. It returns 1 if TLS may have decrypted more, which epoll does not report.
static int readable(int fd) {
    struct conn *c = conns[fd];
    char extra[256];
    if (c->key) { // a subscriber sends nothing after its request, so it has gone, unless this was TLS's own
        if (receive(fd, extra, sizeof extra) >= 0 || errno != EAGAIN) drop(fd);
        return 0;
    }
    if (c->room - c->have < 2048) {
        c->room = c->room ? 2 * c->room : 4096;
        if (c->room > 2 * MAX_REQUEST) {
            drop(fd);
            return 0;
        }
        c->buf = grow(c->buf, (size_t)c->room);
    }
    ssize_t n = receive(fd, c->buf + c->have, (size_t)(c->room - c->have - 1));
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) drop(fd);
        return 0;
    }
    c->have += (int)n;
    int used;
    while ((used = serve(fd)) > 0) {
        c->have -= used;
        memmove(c->buf, c->buf + used, (size_t)c->have);
    }
#ifdef FLOOR_TLS
    return used == 0 && c->ssl && SSL_pending(c->ssl) > 0;
#else
    return 0;
#endif
}

// accept_all accepts connections, with TLS if secure is set.
static void accept_all(int listener, int secure) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd] = grow(NULL, sizeof(struct conn));
        *conns[fd] = (struct conn){0};
#ifdef FLOOR_TLS
        if (secure) {
            if (!(conns[fd]->ssl = SSL_new(tls)) || !SSL_set_fd(conns[fd]->ssl, fd)) {
                drop(fd);
                continue;
            }
            SSL_set_accept_state(conns[fd]->ssl);
        }
#else
        (void)secure;
#endif
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) drop(fd);
    }
}

static int listen_on(const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (!(a.sin_port = htons((unsigned short)atoi(port)))) {
        fprintf(stderr, "floor: %s is not a port\n", port);
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) {
        perror("floor");
        exit(1);
    }
    return fd;
}

#ifdef FLOOR_TLS
// start_tls has nginx's settings: buffers are released when they are empty, and sessions are in tickets only.
static void start_tls(const char *cert, const char *key) {
    tls = SSL_CTX_new(TLS_server_method());
    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    signal(SIGPIPE, SIG_IGN); // SSL_write has no MSG_NOSIGNAL
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
}
#endif

int main(int argc, char **argv) {
    ep = epoll_create1(EPOLL_CLOEXEC);
#ifdef FLOOR_TLS
    if (argc != 5) {
        fputs("usage: floor PORT PUBLISH-PORT CERTIFICATE KEY\n", stderr);
        return 2;
    }
    start_tls(argv[3], argv[4]);
    int publisher = listen_on(argv[2]);
#else
    if (argc != 2) {
        fputs("usage: floor PORT\n", stderr);
        return 2;
    }
    int publisher = -1;
#endif
    int listener = listen_on(argv[1]);
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        if (n < 0 && errno != EINTR) {
            perror("floor: epoll_wait");
            return 1;
        }
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener || fd == publisher) {
                accept_all(fd, fd == listener);
                continue;
            }
            while (conns[fd] && readable(fd)) { // an earlier one of this batch may have dropped it
            }
        }
    }
}
