"""Words that tell mathematics and argument."""

_MATH_WORDS = """
abelian affine algebra algebraic algorithm angle approximation area arithmetic asymptotic axiom bijection bijective
binomial calculus chord circumference coefficient coefficients combinatorial commutative compact congruence congruent
conjecture conjugate converge convergence convergent convex corollary cosine countable cubic denominator derivative
determinant diameter differentiable differential dimensional distribution diverges divides divisible divisor
eigenvalue eigenvalues eigenvector ellipse equation equations equivalence estimator euclidean expectation exponential
factorial fractions gaussian geometric geometry gradient harmonic homomorphism hyperbolic hypotenuse hypothesis
imaginary implies induction inequality injective integrable integral integrate integration intersection invertible
irrational isomorphic isomorphism lemma linearly logarithm logarithmic manifold mathematical mathematics matrices
matrix maximal measurable minimal monotone morphism multiplication multiplicative multiplied multiply multivariate
nonlinear nonnegative nonzero norm numerator optimization orthogonal orthonormal parabola perimeter permutation
perpendicular polygon polynomial polynomials primes prob proof proportional proposition prove proved quadratic
quadrature quotient radian radians rational rectangle recurrence recursive residual sigma sine smooth spectral sphere
squared squares statistic subgroup subset subspace subtract subtraction summation surjective symmetry tangent tensor
theorem theory topological topology triangle trigonometric univariate variance vector vectors vertex vertices
"""
_AMBIGUOUS_WORDS = """
addition approximate average basis bound bounded cardinality circle complement complex composite computation constant
continuous coordinate coordinates curve decimal define definite definition degree dense density diagonal difference
dimension discrete distance divide divided domain element elements equal equality equals equivalent error estimate
even exists expected exponent expression factor factors field finite formula fraction function functions fundamental
graph group hence identity independent infinite infinity inner integer integers interval inverse iteration kernel
length limit linear map mapping maximum mean measure median metric minimum modulo multiple negative normal null number
numbers numerical odd operator optimal parallel parameter parameters partial partition percent percentage plane plot
point points positive power prime probability problem product projection radius random range rank ratio real
regression remainder ring root roots scalar sequence series set sets solution solutions solve space square standard
statistics sum surface symmetric term terms total transform transpose tuple uniform union unique unit value values
variable variables volume zero zeros
"""
_REASONING_WORDS = """
assume assuming because conclude consider conversely each every example finally first follows given hence if implies
instance let means namely next note notice now observe obtain obtains prove proved proves recall second show shown
shows similarly since so step such suppose then therefore thus we when whenever where
"""

MATH_WORDS = frozenset(_MATH_WORDS.split())
AMBIGUOUS_WORDS = frozenset(_AMBIGUOUS_WORDS.split())
"""Words of mathematics that manuals use too: they count a quarter."""

REASONING_WORDS = frozenset(_REASONING_WORDS.split())
