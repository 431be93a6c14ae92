/* Runs a fuzz target over the files of a folder: how the kept corpus is a plain test, with any
 * compiler.
 *
 *     replay_NAME FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1 << 20)

int main(int count, char **values)
{
    static uint8_t data[INPUT_MAX];
    DIR *folder = count == 2 ? opendir(values[1]) : NULL;
    unsigned files = 0;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER\n", values[0]);
        return 2;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", values[1], entry->d_name);
        FILE *file = fopen(path, "rb");
        if (file == NULL) {
            perror(path);
            return 1;
        }
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        files++;
    }
    closedir(folder);
    printf("%u inputs\n", files);
    return files > 0 ? 0 : 1;
}
