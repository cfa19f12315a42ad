"""Numbers read off the slides of the talk, which its experiments gave (not ours).

Geng, "Theoretical Benefit and Limitation of Diffusion Language Model", ASAP seminar, 23 April 2025;
the paper is Feng et al., arXiv 2502.09622.
"""

STEPS = (64, 128, 256, 512, 1024, 2048)

# relative increase of TER in per cent, TER(p_theta) / TER(q) - 1, by n and length
TER_INCREASE = {
    2: {
        256: (2.72, 1.09, 0.27, 0.11, 0.10, 0.05),
        512: (2.72, 1.09, 0.54, 0.09, 0.05, 0.02),
        1024: (2.46, 1.09, 0.55, 0.13, 0.07, 0.02),
    },
    3: {
        256: (4.58, 1.63, 0.98, 0.33, 0.15, 0.08),
        512: (4.56, 1.95, 0.98, 0.42, 0.17, 0.09),
        1024: (4.56, 2.28, 0.98, 0.65, 0.33, 0.13),
    },
    4: {
        256: (5.26, 3.10, 1.86, 1.24, 0.93, 0.06),
        512: (5.33, 2.51, 1.25, 0.63, 0.31, 0.07),
        1024: (5.37, 2.91, 1.45, 0.84, 0.35, 0.05),
    },
}

# seconds to generate a text, by its length; the machine, the networks and the batch are not told
CLOCK_LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
CLOCK_STEPS = 512
CLOCK_MDM = (2.0, 3.1, 4.2, 4.7, 4.7, 7.4)
CLOCK_AR = (0.9, 1.7, 3.3, 7.0, 15.4, 45.8)
