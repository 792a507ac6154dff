/* What bench/start starts: says when it ran its first instruction and when it listened, and waits: to be
 * killed, or with a second word for the end of its input. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned long long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

int main(int count, char **words)
{
	unsigned long long first = now(CLOCK_MONOTONIC);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 5000) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
		perror("bind");
		return 1;
	}
	unsigned long long before = now(CLOCK_REALTIME);
	if (listen(fd, 16)) {
		perror("listen");
		return 1;
	}
	printf("%llu %llu %llu\n", first, now(CLOCK_MONOTONIC), before);
	fflush(stdout);
	char byte;
	while (count > 2)
		if (read(0, &byte, 1) <= 0)
			return 0;
	for (;;)
		pause();
}
