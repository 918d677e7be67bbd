/*
 * Who is at the other end of a session, for the records: as the socket tells, and as a cause.
 */
#include "monitor/monitor-priv.h"

#include <json-c/json.h>
#include <string.h>

/* Of a request's id that is kept. */
#define ID_MAX_BYTES 128

void session_find_peer(struct session *s)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(s->peer);

    if (getsockopt(s->in_fd, SOL_SOCKET, SO_PEERCRED, &s->peer, &length) < 0) {
        s->peer.pid = 0;
    }
    length = sizeof(address);
    if (getpeername(s->in_fd, (struct sockaddr *)&address, &length) == 0) {
        s->peer_address = sock_address_text((struct sockaddr *)&address, length);
    }
}

/* A copy of a request's id for the records; NULL when it is not plain and short. */
static struct json_object *id_copy(struct json_object *id)
{
    struct json_object *copy = NULL;

    if (id && !json_object_is_type(id, json_type_object) &&
        !json_object_is_type(id, json_type_array) &&
        (!json_object_is_type(id, json_type_string) ||
         json_object_get_string_len(id) <= ID_MAX_BYTES)) {
        json_object_deep_copy(id, &copy, NULL);
    }
    return copy;
}

struct godwit_cause *session_asker_cause(void *arg)
{
    const struct session_asker *asker = arg;
    const struct session *s = asker->session;
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);
    struct godwit_client *client = g_new0(struct godwit_client, 1);

    client->monitor = g_strdup(s->label);
    client->has_pid = client->has_uid = client->has_gid = s->peer.pid > 0;
    client->pid = s->peer.pid;
    client->uid = s->peer.uid;
    client->gid = s->peer.gid;
    client->address = g_strdup(s->peer_address);
    client->command = g_strdup(asker->request->command->name);
    client->id = id_copy(asker->request->id);
    info->who = GODWIT_CAUSE_WHO_CLIENT;
    info->what = g_strdup(client->command);
    info->client = client;
    return info;
}
