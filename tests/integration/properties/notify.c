/* Speaks as sd_notify(3) does: notify SECONDS MESSAGE..., each a datagram; then sleeps.
 * "BARRIER" is sent with a descriptor, and waited for until the other side has dropped it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void barrier(int fd)
{
	int ends[2];
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {"BARRIER=1", 9};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof control};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	if (pipe(ends))
		exit(4);
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &ends[1], sizeof(int));
	if (sendmsg(fd, &message, 0) < 0)
		exit(5);
	close(ends[1]);
	struct pollfd end = {.fd = ends[0]};
	if (poll(&end, 1, 10000) != 1)
		exit(6);
	puts("barrier passed");
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	if (!path || argc < 2)
		return 2;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
		perror(path);
		return 3;
	}
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "BARRIER"))
			barrier(fd);
		else if (send(fd, argv[i], strlen(argv[i]), 0) < 0)
			perror("send");
	}
	fflush(stdout);
	sleep(atoi(argv[1]));
	return 0;
}
