/* Read before MKL by the loader: MKL then takes the paths it keeps for Intel processors on any processor that has
   their instructions. Its products of few rows are other kernels there, with other last bits. */
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_intel_cpu_true(void) { return 1; }
