/* OpenSSL's own functions, found at run time in the library that Python's ssl module has loaded,
 * and a BIO that reads and writes plain memory. Nothing is linked: where the functions are not
 * found, the portable path (`session`) is used.
 *
 * Only what has been stable since OpenSSL 1.1.0 is used: opaque pointers, and the constants below.
 */
#ifndef SOCKWAVE_OPENSSL_H
#define SOCKWAVE_OPENSSL_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

enum { /* from openssl/ssl.h, bio.h and crypto.h */
    OPENSSL_WANT_READ = 2,
    OPENSSL_READING = 3,
    OPENSSL_ZERO_RETURN = 6,
    BIO_FLAGS_READ_ = 0x01,
    BIO_FLAGS_ALL_ = 0x0f, /* READ, WRITE, IO_SPECIAL, SHOULD_RETRY */
    BIO_FLAGS_SHOULD_RETRY_ = 0x08,
    BIO_CTRL_FLUSH_ = 11,
    BIO_TYPE_SOURCE_SINK_ = 0x0400,
    CRYPTO_EX_INDEX_SSL_ = 0,
    OPENSSL_VERSION_ = 0,
};

typedef void extra_data_hook(void *parent, void *, void *, int, long, void *);

/* Name, result, arguments. Each function is looked up by its name. */
#define OPENSSL_FUNCTIONS(X)                                                      \
    X(SSL_read, int, (void *ssl, void *data, int size))                           \
    X(SSL_write, int, (void *ssl, const void *data, int size))                    \
    X(SSL_has_pending, int, (const void *ssl))                                    \
    X(SSL_set_read_ahead, void, (void *ssl, int yes))                             \
    X(SSL_want, int, (const void *ssl))                                           \
    X(SSL_get_error, int, (const void *ssl, int result))                          \
    X(SSL_get_ex_data, void *, (const void *ssl, int index))                      \
    X(SSL_is_server, int, (const void *ssl))                                      \
    X(SSL_set_bio, void, (void *ssl, void *in, void *out))                        \
    X(SSL_get_certificate, void *, (const void *ssl))                             \
    X(i2d_X509, int, (const void *certificate, unsigned char **place))            \
    X(ERR_clear_error, void, (void))                                              \
    X(ERR_peek_last_error, unsigned long, (void))                                 \
    X(ERR_reason_error_string, const char *, (unsigned long error))               \
    X(BIO_new, void *, (const void *method))                                      \
    X(BIO_get_new_index, int, (void))                                             \
    X(BIO_meth_new, void *, (int type, const char *name))                         \
    X(BIO_meth_set_read, int, (void *method, int (*read)(void *, char *, int)))   \
    X(BIO_meth_set_write, int,                                                    \
      (void *method, int (*write)(void *, const char *, int)))                    \
    X(BIO_meth_set_ctrl, int,                                                     \
      (void *method, long (*control)(void *, int, long, void *)))                 \
    X(BIO_set_data, void, (void *bio, void *data))                                \
    X(BIO_get_data, void *, (void *bio))                                          \
    X(BIO_set_init, void, (void *bio, int init))                                  \
    X(BIO_set_flags, void, (void *bio, int flags))                                \
    X(BIO_clear_flags, void, (void *bio, int flags))                              \
    X(OpenSSL_version, const char *, (int type))                                  \
    X(CRYPTO_get_ex_new_index, int,                                               \
      (int kind, long, void *, extra_data_hook *make, void *, extra_data_hook *end))

#define OPENSSL_FIELD(name, result, arguments) result (*name) arguments;
static struct {
    OPENSSL_FUNCTIONS(OPENSSL_FIELD)
    void *bio_method;
} openssl;
#undef OPENSSL_FIELD

/* ---- the BIO: its data is the Wire of the operation in progress, NULL at all other times */

static int wire_bio_read(void *bio, char *data, int size)
{
    Wire *wire = openssl.BIO_get_data(bio);
    openssl.BIO_clear_flags(bio, BIO_FLAGS_ALL_);
    if (wire == NULL || size <= 0)
        return -1;
    if (wire->input_size == 0) {
        openssl.BIO_set_flags(bio, BIO_FLAGS_READ_ | BIO_FLAGS_SHOULD_RETRY_);
        return -1;
    }
    if ((size_t)size > wire->input_size)
        size = (int)wire->input_size;
    memcpy(data, wire->input, (size_t)size);
    wire->input += size;
    wire->input_size -= (size_t)size;
    return size;
}

static int wire_bio_write(void *bio, const char *data, int size)
{
    Wire *wire = openssl.BIO_get_data(bio);
    openssl.BIO_clear_flags(bio, BIO_FLAGS_ALL_);
    if (wire == NULL || size <= 0 || wire_reserve(wire, (size_t)size) < 0)
        return -1;
    memcpy(wire->output + wire->output_size, data, (size_t)size);
    wire->output_size += (size_t)size;
    return size;
}

static long wire_bio_control(void *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH_; /* no other command applies to this BIO: 0 */
}

/* ---- which SSL* the ssl module has just made: OpenSSL calls us for each new SSL's extra data */

static __thread void **openssl_captured;

static void openssl_ssl_is_made(void *ssl, void *a, void *b, int c, long d, void *e)
{
    (void)a, (void)b, (void)c, (void)d, (void)e;
    if (openssl_captured != NULL)
        *openssl_captured = ssl;
}

static inline void openssl_capture(void **place) { openssl_captured = place; }

/* ---- */

/* Finds the functions through the module at `path`, or through the main program if it is NULL.
 * Returns 0, or -1 if a function is missing or the library's version is not `version`. */
static int openssl_load(const char *path, const char *version)
{
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL)
        return -1;
#define OPENSSL_FIND(name, result, arguments)                       \
    *(void **)(&openssl.name) = dlsym(library, #name);              \
    if (openssl.name == NULL)                                       \
        return -1;
    OPENSSL_FUNCTIONS(OPENSSL_FIND)
#undef OPENSSL_FIND
    if (strcmp(openssl.OpenSSL_version(OPENSSL_VERSION_), version) != 0)
        return -1;
    openssl.bio_method =
        openssl.BIO_meth_new(openssl.BIO_get_new_index() | BIO_TYPE_SOURCE_SINK_, "sockwave");
    if (openssl.bio_method == NULL)
        return -1;
    openssl.BIO_meth_set_read(openssl.bio_method, wire_bio_read);
    openssl.BIO_meth_set_write(openssl.bio_method, wire_bio_write);
    openssl.BIO_meth_set_ctrl(openssl.bio_method, wire_bio_control);
    return openssl.CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_, 0, NULL, openssl_ssl_is_made,
                                           NULL, NULL) < 0 ? -1 : 0;
}

/* Replaces the BIOs of an SSL by one of ours, for both directions. Returns it; NULL: no memory. A
 * record is read from it at once, where OpenSSL would read the header first: what is in memory can
 * be had ahead of time. */
static inline void *openssl_replace_bio(void *ssl)
{
    void *bio = openssl.BIO_new(openssl.bio_method);
    if (bio != NULL) {
        openssl.BIO_set_init(bio, 1);
        openssl.SSL_set_bio(ssl, bio, bio);
        openssl.SSL_set_read_ahead(ssl, 1);
    }
    return bio;
}

/* Why a read or a write has given nothing: WANT_READ, ZERO_RETURN (the peer has sent its
 * close_notify), or another result, of which *error tells more.
 *
 * SSL_get_error looks at the thread's queue of errors first, where those may be that others have
 * left. To clear the queue before each operation takes longer than all else that we do for it, so
 * it is asked behind a failure only, without the queue; our own error is the last one in there. */
static inline int openssl_explain(void *ssl, int result, unsigned long *error)
{
    *error = 0;
    if (openssl.SSL_want(ssl) == OPENSSL_READING)
        return OPENSSL_WANT_READ;
    *error = openssl.ERR_peek_last_error();
    openssl.ERR_clear_error();
    return openssl.SSL_get_error(ssl, result);
}

/* Writes the certificate that this end has shown, in DER, to `place`; where that is NULL, nothing.
 * Returns its size; 0: it has shown none. */
static inline int openssl_own_certificate(const void *ssl, unsigned char *place)
{
    void *certificate = openssl.SSL_get_certificate(ssl);
    int size = 0;
    if (certificate != NULL)
        size = openssl.i2d_X509(certificate, place == NULL ? NULL : &place);
    return size < 0 ? 0 : size;
}

static inline void openssl_attach(void *bio, Wire *wire) { openssl.BIO_set_data(bio, wire); }

static inline int openssl_read(void *ssl, void *bio, Wire *wire, void *data, int size)
{
    int count;
    openssl.BIO_set_data(bio, wire);
    count = openssl.SSL_read(ssl, data, size);
    openssl.BIO_set_data(bio, NULL);
    return count;
}

/* Hides the input of the wire from the write: it was received for another operation. */
static inline int openssl_write(void *ssl, void *bio, Wire *wire, const void *data, int size)
{
    size_t input_size = wire->input_size;
    int count;
    wire->input_size = 0;
    openssl.BIO_set_data(bio, wire);
    count = openssl.SSL_write(ssl, data, size);
    openssl.BIO_set_data(bio, NULL);
    wire->input_size = input_size;
    return count;
}

#endif
