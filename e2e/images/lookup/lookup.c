/* lookup NAME...: what the C library resolves each name to, one line each: its IPv4 addresses, or "none". */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct addrinfo want = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *list;
		if (getaddrinfo(argv[i], NULL, &want, &list) != 0) {
			puts("none");
			continue;
		}
		for (struct addrinfo *a = list; a; a = a->ai_next) {
			char text[INET_ADDRSTRLEN];
			inet_ntop(AF_INET, &((struct sockaddr_in *)a->ai_addr)->sin_addr, text, sizeof text);
			printf("%s%s", a == list ? "" : " ", text);
		}
		puts("");
		freeaddrinfo(list);
	}
	return 0;
}
