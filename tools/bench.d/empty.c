// Runs a command while programs that do nothing are attached: `empty OBJECT PROGRAM... -- COMMAND...`.
//
// Ends with the command's status, or with 125 when a program cannot be attached.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/libbpf.h>

static int fail(const char *action, const char *name)
{
	fprintf(stderr, "empty: cannot %s `%s`: %s\n", action, name, strerror(errno));
	return 125;
}

static int run(char **command)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		execvp(command[0], command);
		_exit(fail("run", command[0]));
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return fail("wait for", command[0]);
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	char **name;
	if (argc < 4)
		return fail("understand the arguments of", argv[0]);
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail("open", argv[1]);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, false);
	for (name = argv + 2; *name && strcmp(*name, "--"); name++) {
		program = bpf_object__find_program_by_name(object, *name);
		if (!program)
			return fail("find the program", *name);
		bpf_program__set_autoload(program, true);
	}
	if (!*name || bpf_object__load(object))
		return fail("load", argv[1]);
	char **command = name + 1;
	for (name = argv + 2; name + 1 < command; name++)
		if (!bpf_program__attach(bpf_object__find_program_by_name(object, *name)))
			return fail("attach", *name);
	return run(command); // the links end with this process
}
