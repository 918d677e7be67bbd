/*
 * godwit-img: makes, shows, checks, converts and resizes disk images.
 */
#include "img.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(struct img *, int argc, char **argv);
    const char *synopsis;
} verbs[] = {
    {"check", verb_check,
     "[-q] [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE] [-U] FILE"},
    {"compare", verb_compare, "[-f FMT] [-F FMT] [-T CACHE] [-p] [-q] [-s] [-U] FILE1 FILE2"},
    {"convert", verb_convert,
     "[-U] [-c] [-p] [-q] [-n] [-W] [--target-is-zero] [--salvage] [-f FMT] [-t CACHE] [-T CACHE] "
     "[-O FMT] [-B BACKING -F FMT] [-o OPTIONS] [-l SNAPSHOT] [-S SIZE] [-m THREADS] FILE [FILE...] "
     "TARGET"},
    {"create", verb_create, "[-q] [-f FMT] [-b BACKING -F FMT] [-u] [-o OPTIONS] FILE [SIZE]"},
    {"info", verb_info, "[-f FMT] [--output=human|json] [--backing-chain] [-U] FILE"},
    {"map", verb_map,
     "[-f FMT] [--start-offset=N] [--max-length=N] [--output=human|json] [-U] FILE"},
    {"resize", verb_resize, "[-q] [-f FMT] [--shrink] [--preallocation=MODE] FILE [+|-]SIZE"},
    {"snapshot", verb_snapshot, "[-q] [-U] [-l | -a NAME | -c NAME | -d NAME] FILE"},
    {"stream", verb_stream, "FILE"},
};

static void no_event(struct event_sink *sink, unsigned event, const char *data)
{
}

static int help(void)
{
    puts("usage: godwit-img VERB [OPTION...] FILE...\n");
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        printf("  %s %s\n", verbs[i].name, verbs[i].synopsis);
    }
    puts("\nFMT is raw or qcow2; without -f the image's first bytes tell.\n"
         "SIZE is in bytes, or with one of k, M, G, T, P, E in powers of 1024.\n"
         "CACHE is none, writeback, writethrough, directsync or unsafe.\n"
         "-U looks at an image that others may be writing.\n"
         "With --image-opts FILE is a description: driver=qcow2,file.filename=PATH. So is TARGET\n"
         "with --target-image-opts and -n. (Not with create and stream.)");
    return 0;
}

int main(int argc, char **argv)
{
    struct img img = {.sink.emit = no_event};
    int status = -1;

    if (argc < 2) {
        return img_usage("Not enough arguments");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return help();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("godwit-img version " GODWIT_VERSION);
        return 0;
    }
    img.main = loop_new(NULL);
    img.graph = block_graph_new(&img.sink, img.main);
    for (size_t i = 0; i < G_N_ELEMENTS(verbs) && status < 0; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            img.verb = verbs[i].name;
            status = verbs[i].run(&img, argc - 1, argv + 1);
        }
    }
    if (status < 0) {
        status = img_usage("Command not found: %s", argv[1]);
    }
    block_graph_free(img.graph);
    loop_free(img.main);
    return status;
}
