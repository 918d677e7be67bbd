/* The decisions of the driver quorum, without any input or output. Any thread. */
#ifndef BLOCK_QUORUM_H
#define BLOCK_QUORUM_H

/*
 * Who wins. version[i] says with whom child i agrees: the number of the first child that delivered
 * the same, -1 if child i failed. Returns the winning version, which is one of `threshold` children
 * at least and of more than any other; -1: none.
 */
int quorum_vote(const int *version, unsigned n, unsigned threshold);

/* The error of most children (negative), of the first of them where several are equally frequent.
 * 0: none failed. */
int quorum_error(const int *result, unsigned n);

#endif
